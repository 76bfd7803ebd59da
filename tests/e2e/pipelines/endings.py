"""Pipelines that somebody or something ends."""

from typing import Any

from tests.e2e.pipelines.model import End, Ending, Expected, Interrupted, Pipeline

CANCELLED: Ending = ("-1", "SIGTERM", "cancel")
INTERRUPTED = (130, 255, -2)  # of a replay that a developer interrupts
_SLEEP = """trap 'echo the trap ran; exit 3' TERM
      echo working
      sleep 60 & wait"""
_HOOKS = {
    ".buildkite/hooks/pre-exit": (
        "#!/bin/bash\n"
        'if [[ ${BUILDKITE_JOB_CANCELLED:-} == true ]]; then echo "cleans after a cancel"; fi\n'
        'if [[ ${BUILDKITE_JOB_TIMED_OUT:-} == true ]]; then echo "it took too long"; fi\n'
    ),
}


def _ended(key: str, *first: str, **more: Any) -> Expected:
    """Expect of a job that it was ended while it slept, and that its hook knew."""
    lines = (*first, "working", "the trap ran", "cleans after a cancel")
    return Expected(key=key, ending=CANCELLED, replayed=INTERRUPTED, lines=lines, **more)


TIMEOUT = Pipeline(
    name="timeout",
    text=f"""
steps:
  - key: slow
    timeout_in_minutes: 1
    command: |
      echo "$$BUILDKITE_TIMEOUT minute"
      {_SLEEP}
    artifact_paths: "*.md"
  - wait: ~
    continue_on_failure: true
  - {{key: after, command: echo after}}
""",
    files=_HOOKS,
    interrupted=Interrupted(key="slow", seen="working", by=End.TIMEOUT),
    expected=(
        _ended("slow", "1 minute", only_live=("it took too long",)),
        Expected(key="after", lines=("after",)),
    ),
    state="failed",
)

CANCEL = Pipeline(
    name="cancel",
    text=f"""
steps:
  - key: slow
    command: |
      {_SLEEP}
    retry: {{automatic: true}}
  - wait
  - {{key: after, command: echo after}}
""",
    files=_HOOKS,
    interrupted=Interrupted(key="slow", seen="working", by=End.CANCEL),
    expected=(_ended("slow", never=("it took too long",)),),
    without_jobs=("after",),
    state="failed",
)

STEP_CANCEL = Pipeline(
    name="a job cancels a step",
    text=f"""
steps:
  - key: slow
    command: |
      buildkite-agent meta-data set slow working
      {_SLEEP}
    soft_fail: true
  - key: impatient
    command: |
      until buildkite-agent meta-data exists slow; do sleep 0.2; done
      [ -n "$$REPLAYED" ] || buildkite-agent step cancel --step slow
      echo asked
""",
    files=_HOOKS,
    interrupted=Interrupted(key="slow", seen="working", by=End.BY_ITSELF),
    expected=(
        _ended("slow", meta_data={"slow": "working"}),
        Expected(key="impatient", lines=("asked",), choice=("--env", "REPLAYED=1")),
    ),
    outcomes={"slow": "soft_failed"},
)

BUILD_CANCEL = Pipeline(
    name="a job cancels its build",
    text=f"""
steps:
  - key: fatal
    command: |
      buildkite-agent build cancel
      echo asked
      {_SLEEP}
  - wait
  - {{key: after, command: echo after}}
""",
    files=_HOOKS,
    interrupted=Interrupted(key="fatal", seen="working", by=End.BY_ITSELF),
    expected=(_ended("fatal", "asked"),),
    without_jobs=("after",),
    state="canceled",
)

PIPELINES = (TIMEOUT, CANCEL, STEP_CANCEL, BUILD_CANCEL)
