"""The matrix of a step: which jobs it stands for, and one of them.

Source: https://buildkite.com/docs/pipelines/configure/workflows/build-matrix
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from itertools import islice, product
from typing import Any

from bootstrap.replay.inputs.pipeline_yaml import text_of
from bootstrap.replay.model import MissingPiece
from bootstrap.text import printable

MOST = 10_000  # combinations; Buildkite takes far fewer
SHOWN = 12
ANONYMOUS = ""  # the dimension of a matrix that is a list
_TOKEN = re.compile(r"\{\{\s*matrix(?:\.([A-Za-z0-9_.-]+))?\s*\}\}")

Chosen = Mapping[str, str]


def combinations(matrix: object) -> list[dict[str, str]]:
    """Return the values of every job of the matrix. Raises ValueError if it is no matrix."""
    setup, adjustments = _parts(matrix)
    found = [
        dict(zip(setup, values, strict=True))
        for values in islice(product(*setup.values()), MOST + 1)
    ]
    if len(found) > MOST:
        raise ValueError(f"its matrix has more than {MOST} combinations")
    for adjustment in adjustments:
        values, is_skipped = _adjustment(adjustment, setup)
        found = [one for one in found if one != values or not is_skipped]
        if values not in found and not is_skipped:
            found.append(values)
    return found


def _parts(matrix: object) -> tuple[dict[str, list[str]], list[Any]]:
    if isinstance(matrix, dict):
        setup, adjustments = matrix.get("setup"), matrix.get("adjustments") or []
    else:
        setup, adjustments = matrix, []
    if isinstance(setup, list):
        setup = {ANONYMOUS: setup}
    if not isinstance(setup, dict) or not isinstance(adjustments, list):
        raise ValueError("its matrix is neither a list nor a mapping with `setup`")  # noqa: TRY004
    return {name: _texts(values) for name, values in setup.items()}, adjustments


def _texts(values: object) -> list[str]:
    if not isinstance(values, list):
        raise ValueError("a dimension of its matrix is not a list")  # noqa: TRY004
    return list(dict.fromkeys(text_of(value) for value in values))


def _adjustment(of: object, setup: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    given = of.get("with") if isinstance(of, dict) else None
    if given is not None and not isinstance(given, dict):
        given = {ANONYMOUS: given}
    if not isinstance(of, dict) or given is None or given.keys() != setup.keys():
        raise ValueError("an adjustment of its matrix has no `with` that names every dimension")
    skip = of.get("skip")
    return {name: text_of(value) for name, value in given.items()}, skip not in (None, False, "")


def choice(
    matrix: object, asked: Mapping[str, str]
) -> tuple[dict[str, str], tuple[MissingPiece, ...]]:
    """Return the one combination that `asked` leaves, or what has to be asked for.

    Raises ValueError if there is no such combination.
    """
    known = combinations(matrix)
    dimensions = list(known[0]) if known else []
    if strange := sorted(asked.keys() - set(dimensions)):
        named = f"has no dimension {strange[0]!r}" if strange[0] else "has named dimensions"
        raise ValueError(f"its matrix {named}, but {_listed(d or 'values' for d in dimensions)}")
    left = [one for one in known if asked.items() <= one.items()]
    if not left:
        raise ValueError(f"its matrix has no {_shown(asked)}, but {_listed(map(_shown, known))}")
    if len(left) == 1:
        return left[0], ()
    open_ones = [d for d in dimensions if len({one[d] for one in left}) > 1]
    return {}, tuple(_piece(name, left) for name in open_ones)


def _piece(name: str, left: list[dict[str, str]]) -> MissingPiece:
    values = list(dict.fromkeys(one[name] for one in left))
    option = f"{name}={values[0]}" if name else values[0]
    return MissingPiece(
        name=f"matrix.{name}" if name else "matrix",
        why=f"the step is a matrix; this is one of {_listed(values)}",
        example=f"--matrix {shlex.quote(option)}",
    )


def _shown(chosen: Chosen) -> str:
    return " ".join(f"{name}={value}" if name else value for name, value in chosen.items())


def _listed(texts: Iterable[str]) -> str:
    every = list(texts)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return printable(", ".join(every[:SHOWN]) or "nothing", limit=400) + more


def applied(value: Any, chosen: Chosen) -> Any:  # noqa: ANN401 - YAML
    """Return the value with the tokens of the matrix replaced, in values of mappings and lists."""
    match value:
        case str():
            return _TOKEN.sub(lambda token: chosen.get(token[1] or ANONYMOUS, token[0]), value)
        case list():
            return [applied(item, chosen) for item in value]
        case dict():
            return {key: applied(item, chosen) for key, item in value.items()}
        case _:
            return value
