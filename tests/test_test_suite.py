"""The rules of the tests themselves, checked on the syntax tree of every file below tests/."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.errors import AirlockError

TESTS = Path(__file__).parent
FILES = {str(path.relative_to(TESTS)): path for path in sorted(TESTS.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}
MODULES = [name for name in FILES if name.rpartition("/")[2].startswith("test_")]
# Classes that stand for many mistakes each: which one it was is in the message.
BROAD = {"AirlockError", *(kind.__name__ for kind in AirlockError.__subclasses__())}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call with the last part of its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def fails(function: ast.FunctionDef) -> bool:
    """Return whether the function itself has a statement that can fail a test."""
    nodes = list(ast.walk(function))
    return any(isinstance(node, ast.Assert | ast.Raise) for node in nodes) or any(
        name == "raises" for name, _ in calls(function)
    )


HELPERS = {f.name for tree in TREES.values() for f in functions(tree) if fails(f)}


@pytest.mark.parametrize("name", FILES)
def test_file_has_at_most_300_lines_and_its_functions_60(name: str) -> None:
    assert FILES[name].read_text().count("\n") <= 300
    long = {f.name for f in functions(TREES[name]) if (f.end_lineno or 0) - f.lineno >= 60}
    assert long == set()


@pytest.mark.parametrize("name", MODULES)
def test_every_test_has_an_assertion(name: str) -> None:
    tests = [f for f in functions(TREES[name]) if f.name.startswith("test_")]
    without = [
        test.name
        for test in tests
        if not fails(test) and not HELPERS & {called for called, _ in calls(test)}
    ]
    assert tests
    assert without == []


@pytest.mark.parametrize("name", MODULES)
def test_expected_error_is_matched_or_inspected(name: str) -> None:
    """`pytest.raises` with neither `match` nor `as` accepts the error of another mistake."""
    items = [
        item for node in ast.walk(TREES[name]) if isinstance(node, ast.With) for item in node.items
    ]
    bare = [
        ast.unparse(item.context_expr)
        for item in items
        if isinstance(item.context_expr, ast.Call)
        and ast.unparse(item.context_expr.func) == "pytest.raises"
        and ast.unparse(item.context_expr.args[0]) in BROAD
        and not item.context_expr.keywords
        and item.optional_vars is None
    ]
    assert bare == []


@pytest.mark.parametrize("name", MODULES)
def test_no_test_sleeps(name: str) -> None:
    """A test waits for a condition (tests.lab.engine.eventually), never for a time."""
    assert [call.lineno for called, call in calls(TREES[name]) if called == "sleep"] == []
