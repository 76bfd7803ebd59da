"""Plugins as teams have them, and the other repositories of the pipelines."""

from collections.abc import Mapping
from pathlib import Path

from tests.fakes.git import git, publish

# Hooks in all phases, configured by scalars and lists.
GREET: Mapping[str, str] = {
    "plugin.yml": "name: Greet\nrequirements: [bash]\nconfiguration: {properties: {}}\n",
    "hooks/environment": (
        '#!/bin/bash\nexport GREETING="${BUILDKITE_PLUGIN_GREET_GREETING:-Hello}"\n'
    ),
    "hooks/pre-command": (
        "#!/bin/bash\nset -euo pipefail\n"
        'for number in 0 1 2 3; do\n  name="BUILDKITE_PLUGIN_GREET_NAMES_${number}"\n'
        '  if [[ -n "${!name:-}" ]]; then echo "$GREETING, ${!name}"; fi\ndone\n'
        'echo "loud is ${BUILDKITE_PLUGIN_GREET_LOUD:-false}"\n'
    ),
    "hooks/post-command": (
        '#!/bin/bash\necho "the command ended with $BUILDKITE_COMMAND_EXIT_STATUS"\n'
    ),
}
# Runs in place of the command, as those do that run it in a container.
WRAP: Mapping[str, str] = {
    "plugin.yml": "name: Wrap\n",
    "hooks/command": (
        "#!/bin/bash\nset -uo pipefail\n"
        'echo "wrapped: $BUILDKITE_COMMAND"\n'
        'env INSIDE=wrapper bash -c "$BUILDKITE_COMMAND"\nexit $(( $? * 2 ))\n'
    ),
}
# Takes the place of the checkout, and fails.
BROKEN_CHECKOUT: Mapping[str, str] = {
    "plugin.yml": "name: Broken checkout\n",
    "hooks/checkout": "#!/bin/bash\necho the mirror is down\nexit 9\n",
}
HOOKS = (
    "environment", "pre-checkout", "post-checkout", "pre-command", "post-command", "pre-artifact",
    "post-artifact", "pre-exit",
)  # fmt: skip


def traced(scope: str, directory: str) -> dict[str, str]:
    """Return hooks that print their names, and hand on what is exported."""
    return {
        f"{directory}/{hook}": (
            f'#!/bin/bash\necho "{scope} {hook}${{TRAIL:+ after $TRAIL}}"\n'
            f"export TRAIL='{scope} {hook}'\n"
        )
        for hook in HOOKS
    }


TRACE: Mapping[str, str] = {"plugin.yml": "name: Trace\n", **traced("plugin", "hooks")}
LIBRARY: Mapping[str, str] = {"lib.sh": "echo from the library\n"}
NESTED: Mapping[str, str] = {"deep.txt": "from the nested repository\n"}


def publish_all(root: Path) -> None:
    """Publish what the pipelines refer to."""
    for name, files in (
        ("greet", GREET), ("wrap", WRAP), ("broken-checkout", BROKEN_CHECKOUT),
        ("trace", TRACE),
    ):  # fmt: skip
        repository = f"{name}-buildkite-plugin"
        publish(root, repository, files)
        git(root / f"{repository}.git", "tag", "v1.2.0")
        git(root / f"{repository}.git", "update-server-info")
