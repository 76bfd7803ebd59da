"""What is imported for every job: each library here would delay all of them by 10 to 100 ms."""

import subprocess
import sys

import pytest

# Libraries, and what of Python itself takes long, that a decision about a job does not need.
LATE = {
    "argparse", "asyncio", "boto3", "botocore", "concurrent.futures", "cryptography", "dns",
    "docker", "jwt", "pydantic", "pydantic_core", "requests", "structlog", "tenacity",
    "tomllib", "urllib.request", "urllib3", "yaml",
}  # fmt: skip
# Of the sandbox, what the hook's command has no use for.
HOOK_NEEDS = {"supervision", "supervision.signals"}


def imported(statement: str) -> set[str]:
    """Return the modules that an interpreter has after the statement."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    argv = [sys.executable, "-I", "-S", "-c", f"sys = __import__('sys')\n{PATHS}\n{program}"]
    return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())


# Without site: in a development environment it imports more than Python itself does.
PATHS = f"sys.path[:] = {sys.path!r}"


@pytest.mark.parametrize("command", ["admit", "bootstrap"])
def test_a_command_that_agents_start_imports_no_library(command: str) -> None:
    found = imported(f"import bootstrap.cli, bootstrap.commands.{command}")
    assert f"bootstrap.commands.{command}" in found
    assert found & LATE == set()


def test_the_hooks_command_imports_little_of_the_sandbox() -> None:
    found = imported("import bootstrap.commands.admit")
    prefix = "bootstrap.sandbox."
    sandbox = {name.removeprefix(prefix) for name in found if name.startswith(prefix)}
    assert sandbox == HOOK_NEEDS
