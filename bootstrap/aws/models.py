"""botocore's descriptions of the services, without what is never called: most of their memory."""

from collections.abc import Iterator, Mapping
from typing import Any

# Every operation that is called, by service.
OPERATIONS = {
    "sts": ("AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity"),
    "ssm": (
        "GetParameters", "GetParametersByPath", "PutParameter", "DeleteParameter",
        "GetParameterHistory",
    ),
    "secretsmanager": ("GetSecretValue",),
    "ecr": ("GetAuthorizationToken",),
}  # fmt: skip

Document = Mapping[str, Any]


def only_called(model: Document, operations: tuple[str, ...]) -> Document:
    """Return a service's model with these operations only, the shapes they use, and no texts."""
    kept = {name: model["operations"][name] for name in operations}
    shapes: dict[str, Any] = {}
    waiting = list(_shapes_of(kept))
    while waiting:
        name = waiting.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            waiting += _shapes_of(shapes[name])
    reduced: Document = _without_texts({**model, "operations": kept, "shapes": shapes})
    return reduced


def only_known(endpoints: Document) -> Document:
    """Return the endpoints of these services only: botocore has those of 400."""
    partitions = [
        {
            **partition,
            "services": {n: s for n, s in partition["services"].items() if n in OPERATIONS},
        }
        for partition in endpoints["partitions"]
    ]
    return {**endpoints, "partitions": partitions}


def _shapes_of(found: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield the names of the shapes that a part of a model refers to."""
    match found:
        case {"shape": str(name)}:
            yield name
        case Mapping():
            for each in found.values():
                yield from _shapes_of(each)
        case list():
            for each in found:
                yield from _shapes_of(each)


def _without_texts(found: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a part of a model without its documentation."""
    match found:
        case Mapping():
            return {
                name: _without_texts(value)
                for name, value in found.items()
                if not (name == "documentation" and isinstance(value, str))
            }
        case list():
            return [_without_texts(each) for each in found]
        case _:
            return found
