"""What the service loads before its first job: all that a worker imports, and no tool."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "bootstrap"
WORKER = "bootstrap.service.worker"
LOADED = """
import sys
from bootstrap.service import preload
before = set(sys.modules)
for module in (*preload.LIBRARIES, *preload._own(), *preload.OF_POLICIES):
    __import__(module)
print(*sorted(sys.modules))
"""


@cache
def modules() -> dict[str, Path]:
    files = {
        path: path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py")
    }
    return {".".join(file.parts).removesuffix(".__init__"): path for path, file in files.items()}


def imported(module: str) -> set[str]:
    """Return what a module imports of Airlock, inside of functions too, and its packages."""
    found = {module.rpartition(".")[0]}
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        match node:
            case ast.Import():
                found |= {one.name for one in node.names}
            case ast.ImportFrom(module=str(parent)):
                found |= {parent, *(f"{parent}.{one.name}" for one in node.names)}
            case _:
                pass
    return found & modules().keys()


def needed(module: str) -> set[str]:
    found: set[str] = set()
    waiting = {module}
    while waiting:
        found.add(one := waiting.pop())
        waiting |= imported(one) - found
    return found


@cache
def loaded() -> set[str]:
    out = subprocess.run([sys.executable, "-I", "-c", LOADED], check=True, capture_output=True)
    return set(out.stdout.decode().split())


def test_what_reads_a_command_line_is_not_loaded() -> None:
    assert "argparse" not in loaded()


def test_all_that_a_worker_may_import_is_loaded_and_no_tool_for_policies() -> None:
    of_worker, there = needed(WORKER), loaded()
    assert len(of_worker) > 150
    assert of_worker - there == set()
    tools = ("bootstrap.policy.", "bootstrap.commands.policy")
    assert {one for one in there - of_worker if one.startswith(tools)} == set()
