"""Pipelines about what surrounds a command: plugins, hooks, submodules, LFS, what fails there."""

import itertools
from pathlib import Path

from tests.e2e.pipelines.model import Expected, Pipeline
from tests.e2e.pipelines.plugins import LIBRARY, NESTED, traced
from tests.fakes.git import add_submodule, git, lfs_file, publish

PLUGINS = Pipeline(
    name="plugins",
    text="""
steps:
  - key: greeted
    command: echo the command
    plugins:
      - GIT_SERVER/greet-buildkite-plugin.git#v1.2.0:
          greeting: Hej
          names: [Ada, "Grace Hopper"]
          loud: true
      - ./.buildkite/plugins/local:
          colour: blue
  - key: wrapped
    command: "echo inside the $$INSIDE; exit 3"
    plugins:
      - GIT_SERVER/wrap-buildkite-plugin.git#v1.2.0: ~
  - key: gone
    command: echo the command
    plugins:
      - GIT_SERVER/wrap-buildkite-plugin.git#v9: ~
""",
    files={
        ".buildkite/plugins/local/plugin.yml": "name: Local\n",
        ".buildkite/plugins/local/hooks/pre-command": (
            '#!/bin/bash\necho "the plugin is $BUILDKITE_PLUGIN_LOCAL_COLOUR"\n'
        ),
    },
    expected=(
        Expected(
            key="greeted",
            lines=(
                "Hej, Ada", "Hej, Grace Hopper", "loud is true", "the plugin is blue",
                "the command", "the command ended with 0",
            ),
        ),
        Expected(
            key="wrapped",
            lines=("wrapped: echo inside the $INSIDE; exit 3", "inside the wrapper"),
            ending=("6", "", ""),
        ),
        Expected(key="gone", never=("the command",), ending=("1", "", "")),
    ),
    state="failed",
)  # fmt: skip

# https://buildkite.com/docs/agent/hooks#job-lifecycle-hooks, in the order of agent 3.
TRACE = (
    "plugin environment", "plugin pre-checkout", "repository post-checkout",
    "plugin post-checkout", "vendored environment", "repository pre-command", "plugin pre-command",
    "vendored pre-command", "repository post-command", "plugin post-command",
    "vendored post-command", "repository pre-artifact", "plugin pre-artifact",
    "vendored pre-artifact", "repository post-artifact", "plugin post-artifact",
    "vendored post-artifact", "repository pre-exit", "plugin pre-exit", "vendored pre-exit",
)  # fmt: skip

HOOKS = Pipeline(
    name="hooks",
    text="""
steps:
  - key: all
    command: echo "the command after $$TRAIL" | tee log.txt
    artifact_paths: log.txt
    plugins:
      - GIT_SERVER/trace-buildkite-plugin.git#v1.2.0: ~
      - ./.buildkite/plugins/vendored: ~
""",
    files={
        **traced("repository", ".buildkite/hooks"),
        ".buildkite/plugins/vendored/plugin.yml": "name: Vendored\n",
        **traced("vendored", ".buildkite/plugins/vendored/hooks"),
    },
    expected=(
        Expected(
            key="all",
            lines=(
                TRACE[0],
                *(f"{hook} after {before}" for before, hook in itertools.pairwise(TRACE)),
            ),
            never=("repository environment", "repository pre-checkout", "vendored pre-checkout"),
            artifacts={"log.txt": b"the command after vendored pre-command\n"},
        ),
    ),
)


def _with_submodules(root: Path, name: str) -> str:
    """A submodule by a relative URL, with a submodule of its own."""
    nested = publish(root, "nested", NESTED)
    publish(root, "library", LIBRARY)
    library = add_submodule(root, "library", "nested", nested, "../nested.git")
    return add_submodule(root, name, "vendor/library", library, "../library.git")


SUBMODULES = Pipeline(
    name="submodules",
    text="""
steps:
  - key: build
    command: "sh vendor/library/lib.sh; cat vendor/library/nested/deep.txt; git submodule status"
""",
    prepare=_with_submodules,
    expected=(Expected(key="build", lines=("from the library", "from the nested repository")),),
)

_MODEL = bytes(range(256)) * 400


def _with_lfs(root: Path, name: str) -> str:
    work = root / f"{name}.work"
    (work / ".gitattributes").write_text("*.model filter=lfs diff=lfs merge=lfs -text\n")
    (work / "big.model").write_text(lfs_file(root, _MODEL))
    git(work, "-c", "filter.lfs.required=false", "add", "-A")
    git(work, "commit", "-q", "-m", "A model")
    git(work, "push", "-q", str(root / f"{name}.git"), "HEAD:main")
    return git(work, "rev-parse", "HEAD").strip()


LFS = Pipeline(
    name="LFS",
    text="""
steps:
  - key: train
    command: "git lfs ls-files; wc -c < big.model; cp big.model copy.bin"
    artifact_paths: copy.bin
""",
    prepare=_with_lfs,
    expected=(Expected(key="train", lines=("102400",), artifacts={"copy.bin": _MODEL}),),
)

FAILING_HOOK = Pipeline(
    name="failing hooks",
    text="""
steps:
  - {key: before, command: echo the command, env: {BEFORE: "5"}}
  - {key: after, command: echo the command, env: {AFTER: "6"}}
  - {key: unset, command: echo the command}
""",
    files={
        ".buildkite/hooks/pre-command": "#!/bin/bash\ntest ${BEFORE:-0} = 0 || exit $BEFORE\n",
        ".buildkite/hooks/post-command": "#!/bin/bash\ntest ${AFTER:-0} = 0 || exit $AFTER\n",
        ".buildkite/hooks/pre-exit": "#!/bin/bash\necho cleaned up\n",
    },
    expected=(
        Expected(key="before", lines=("cleaned up",), never=("the command",), ending=("5", "", "")),
        Expected(key="after", lines=("the command", "cleaned up"), ending=("6", "", "")),
        Expected(key="unset", lines=("the command", "cleaned up")),
    ),
    state="failed",
)

FAILING_CHECKOUT = Pipeline(
    name="failing checkout",
    text="""
steps:
  - key: build
    command: echo the command
    plugins: [GIT_SERVER/broken-checkout-buildkite-plugin.git#v1.2.0: ~]
""",
    expected=(
        Expected(
            key="build",
            lines=("the mirror is down",),
            never=("the command",),
            ending=("9", "", ""),
        ),
    ),
    state="failed",
)

# As after a push with --force, before git has gone over the old commits.
GONE_COMMIT = Pipeline(
    name="a commit that is gone",
    text="steps: [{key: build, command: echo the command}]\n",
    commit="0123456789" * 4,
    expected=(Expected(key="build", never=("the command",), ending=("128", "", "")),),
    state="failed",
)

PIPELINES = (
    PLUGINS, HOOKS, SUBMODULES, LFS, FAILING_HOOK, FAILING_CHECKOUT, GONE_COMMIT,
)  # fmt: skip
