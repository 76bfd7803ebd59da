"""The table that `make test` prints at its end: attacks tried and faults injected."""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROMISE = re.compile(r"^\| (\d+) \|.*$", re.MULTILINE)
_LINK = re.compile(r"\]\((tests/[^)]+)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A directory of tests; `total` has the fields tried, passed, failed and skipped."""

    directory: str
    title: str
    total: str


# Every case of a file counts once, each parameter of a test being a case of its own. A passed case
# is an attack that was refused, one that succeeded because the protection was removed for it, or an
# honest job that ran beside it.
SUITES = (
    Suite(
        directory="tests/attacks/",
        title="attacks",
        total="{tried} attack cases tried, {passed} as promised: refused, or shown to succeed once "
        "the protection is removed; {failed} not, {skipped} skipped",
    ),
    Suite(
        directory="tests/faults/",
        title="faults",
        total="{tried} faults injected, {passed} survived; {failed} not, {skipped} skipped",
    ),
)


def lines(suite: Suite, outcomes: Sequence[tuple[str, str]], root: Path) -> Iterator[str]:
    """Yield each file with its outcomes and its purpose, then the totals; nothing if none ran.

    `outcomes` are pairs of a test's node id and "passed", "failed", "skipped" or "error".
    """
    counted: dict[str, Counter[str]] = {}
    for node, outcome in outcomes:
        file = node.split("::")[0]
        if file.startswith(suite.directory):
            counted.setdefault(file, Counter())[outcome] += 1
    for file, found in sorted(counted.items()):
        how = ", ".join(f"{number} {outcome}" for outcome, number in found.items())
        yield f"{Path(file).stem.removeprefix('test_'):44} {how}"
        yield f"    {_purpose(root / file)}"
    if counted:
        yield from _by_promise(counted, root)
        yield suite.total.format(**_totals(counted))


def _purpose(path: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def _by_promise(counted: dict[str, Counter[str]], root: Path) -> Iterator[str]:
    """Yield one line with the passed cases of each promise, by the links of README's table."""
    rows = [(row[1], set(_LINK.findall(row[0]))) for row in _PROMISE.finditer(_readme(root))]
    passed = {
        number: sum(found["passed"] for file, found in counted.items() if file in linked)
        for number, linked in rows
        if linked & set(counted)
    }
    if passed:
        yield "by promise (a file of two promises counts for both): " + ", ".join(
            f"{number}: {cases}" for number, cases in passed.items()
        )


def _readme(root: Path) -> str:
    return (root / "README.md").read_text()


def _totals(counted: dict[str, Counter[str]]) -> dict[str, int]:
    all_of = sum(counted.values(), Counter[str]())
    failed = all_of["failed"] + all_of["error"]
    return {
        "tried": all_of["passed"] + failed,
        "passed": all_of["passed"],
        "failed": failed,
        "skipped": all_of["skipped"],
    }
