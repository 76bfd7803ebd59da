"""Pipelines about what a step's command is, and how many jobs it stands for."""

from tests.e2e.pipelines.model import Annotation, Expected, Pipeline

COMMANDS = Pipeline(
    name="multi-line commands",
    text=r"""
env:
  REGION: eu
  TARGET: "${REGION}-west"
steps:
  - label: ":hammer: Build"
    key: build
    env: {MODE: release}
    commands:
      - "cd src"
      - "echo in $(basename $$PWD)"
      - "VALUE='a b'"
      - 'echo "$$VALUE, $$MODE, $TARGET, ${NOWHERE:-default}, $BUILDKITE_BRANCH"'
  - key: script
    command: |
      while read -r line; do
        echo "read: $$line"
      done <<'END'
      one
      two "quoted" \n 'three'
      END
      if false; then
        echo never
      fi
      echo 'déjà vu 🚀'
  - key: stops
    command: |
      echo before
      false
      echo after
  - {key: file, command: ./script.sh}
""",
    files={"src/main.c": "", "script.sh": "#!/bin/sh\necho a script of the repository\n"},
    expected=(
        Expected(key="build", lines=("in src", "a b, release, eu-west, default, main")),
        Expected(
            key="script",
            lines=("read: one", r"""read: two "quoted" \n 'three'""", "déjà vu 🚀"),
            never=("never",),
        ),
        # The agent runs the lines of a command by `bash -e -c`.
        Expected(key="stops", lines=("before",), never=("after",), ending=("1", "", "")),
        Expected(key="file", lines=("a script of the repository",)),
    ),
    state="failed",
)

RETRIES = Pipeline(
    name="automatic retries",
    text="""
steps:
  - key: flaky
    command: |
      echo "attempt $$BUILDKITE_RETRY_COUNT, retried '$$BUILDKITE_RETRY_TYPE'"
      test "$$BUILDKITE_RETRY_COUNT" -ge 2 || exit 3
    retry:
      automatic:
        - {exit_status: 3, limit: 2}
  - key: other
    command: exit 4
    retry: {automatic: [{exit_status: 3, limit: 2}]}
  - wait
  - {key: after, command: echo after}
""",
    expected=(
        Expected(key="flaky", lines=("attempt 0, retried ''",), ending=("3", "", "")),
        Expected(
            key="flaky",
            lines=("attempt 1, retried 'automatic'",),
            ending=("3", "", ""),
            choice=(
                "--env", "BUILDKITE_RETRY_COUNT=1", "--env", "BUILDKITE_RETRY_TYPE=automatic",
            ),
        ),
        Expected(
            key="flaky",
            lines=("attempt 2, retried 'automatic'",),
            choice=(
                "--env", "BUILDKITE_RETRY_COUNT=2", "--env", "BUILDKITE_RETRY_TYPE=automatic",
            ),
        ),
        Expected(key="other", ending=("4", "", "")),
    ),
    without_jobs=("after",),
    state="failed",
    outcomes={"flaky": "passed"},
)  # fmt: skip


def _of_matrix(os: str, arch: str, ending: str = "0") -> Expected:
    return Expected(
        key="build",
        env={"TARGET": f"{os}-{arch}"},
        lines=(f"Building for {os}-{arch}: {os} / {arch}, plugin {os}",),
        ending=(ending, "", ""),
        choice=("--matrix", f"os={os}", "--matrix", f"arch={arch}"),
    )


MATRIX = Pipeline(
    name="matrix",
    text="""
steps:
  - label: "{{matrix.os}} / {{matrix.arch}}"
    key: build
    env: {TARGET: "{{matrix.os}}-{{matrix.arch}}"}
    command: |
      echo "Building for $$TARGET: $$BUILDKITE_LABEL, plugin $$GREETING"
      test "{{matrix.os}}" != plan9 || exit 7
    plugins:
      - GIT_SERVER/greet-buildkite-plugin.git#v1.2.0: {greeting: "{{matrix.os}}"}
    matrix:
      setup:
        os: [linux, windows]
        arch: [amd64, arm64]
      adjustments:
        - {with: {os: windows, arch: arm64}, skip: true}
        - {with: {os: plan9, arch: mips}, soft_fail: true}
  - label: "node {{matrix}}"
    key: node
    command: "echo node {{matrix}}"
    matrix: [20, 22]
""",
    expected=(
        _of_matrix("linux", "amd64"),
        _of_matrix("linux", "arm64"),
        _of_matrix("windows", "amd64"),
        _of_matrix("plan9", "mips", "7"),
        Expected(
            key="node",
            env={"BUILDKITE_LABEL": "node 20"},
            lines=("node 20",),
            choice=("--matrix", "20"),
        ),
        Expected(
            key="node",
            env={"BUILDKITE_LABEL": "node 22"},
            lines=("node 22",),
            choice=("--matrix", "22"),
        ),
    ),
)

PARALLEL = Pipeline(
    name="parallelism",
    text="""
steps:
  - label: "Tests %n"
    key: tests
    parallelism: 3
    command: |
      echo "shard $$BUILDKITE_PARALLEL_JOB of $$BUILDKITE_PARALLEL_JOB_COUNT"
      ls spec | awk "NR % $$BUILDKITE_PARALLEL_JOB_COUNT == $$BUILDKITE_PARALLEL_JOB"
""",
    files={f"spec/{name}": "" for name in ("a", "b", "c", "d", "e")},
    expected=tuple(
        Expected(
            key="tests",
            env={"BUILDKITE_PARALLEL_JOB": str(number)},
            lines=(f"shard {number} of 3", *of_it),
            never=tuple({"a", "b", "c", "d", "e"} - set(of_it)),
            choice=("--env", f"BUILDKITE_PARALLEL_JOB={number}"),
        )
        for number, of_it in enumerate((("c",), ("a", "d"), ("b", "e")))
    ),
)

SOFT_FAIL = Pipeline(
    name="soft failures",
    text="""
steps:
  - {key: lint, command: "echo linting; exit 4", soft_fail: [{exit_status: 4}]}
  - {key: audit, command: "exit 5", soft_fail: true}
  - wait
  - key: deploy
    command: |
      echo deploying
      [ -n "$$REPLAYED" ] || echo "lint: $(buildkite-agent step get outcome --step lint)"
""",
    expected=(
        Expected(key="lint", lines=("linting",), ending=("4", "", "")),
        Expected(key="audit", ending=("5", "", "")),
        Expected(
            key="deploy",
            lines=("deploying",),
            only_live=("lint: soft_failed",),
            choice=("--env", "REPLAYED=1"),
        ),
    ),
    outcomes={"lint": "soft_failed", "audit": "soft_failed"},
)

REPORT = Pipeline(
    name="report after failures",
    text="""
steps:
  - group: ":mag: Checks"
    key: checks
    steps:
      - {key: lint, command: "echo $$BUILDKITE_GROUP_KEY, $$BUILDKITE_GROUP_LABEL"}
      - key: unit
        command: "mkdir out; echo '<testsuite failures=1/>' > out/junit.xml; exit 2"
        artifact_paths: out/*.xml
  - {key: package, command: echo packaging, depends_on: unit}
  - key: notify
    command: echo notified
    depends_on: [{step: unit}]
    allow_dependency_failure: true
  - wait: ~
    continue_on_failure: true
  - key: report
    command: |
      buildkite-agent artifact download 'out/*.xml' .
      grep -c failures=1 out/junit.xml
      buildkite-agent annotate "1 failure" --style error --context junit
""",
    expected=(
        Expected(key="lint", lines=("checks, :mag: Checks",)),
        Expected(
            key="unit",
            ending=("2", "", ""),
            artifacts={"out/junit.xml": b"<testsuite failures=1/>\n"},
        ),
        Expected(key="notify", lines=("notified",)),
        Expected(
            key="report",
            lines=("1",),
            annotations={"junit": Annotation(body="1 failure", text="1 failure")},
        ),
    ),
    without_jobs=("package",),
    state="failed",
)

PIPELINES = (COMMANDS, RETRIES, MATRIX, PARALLEL, SOFT_FAIL, REPORT)
