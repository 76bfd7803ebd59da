"""What options of the command line give to an input."""

from collections.abc import Mapping, Sequence

from bootstrap.buildkite.env_files import NAME
from bootstrap.errors import WrongConfiguration
from bootstrap.text import printable


def assignments(
    texts: Sequence[str], env: Mapping[str, str], *, option: str = "--env"
) -> dict[str, str]:
    """Return what `--env NAME=VALUE` means; `--env NAME` is the developer's own value of NAME.

    Raises WrongConfiguration for a name that the developer's environment does not have.
    """
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not NAME.fullmatch(name):
            raise WrongConfiguration(
                printable(f"{option} {name!r}: that is no name of a variable"),
                hint=f"Write {option} NAME=VALUE: a name has letters, digits and _, and does not "
                "begin with a digit.",
            )
        if not equals and name not in env:
            raise WrongConfiguration(
                printable(f"{option} {name}: this environment has no {name}"),
                hint=f"Write {option} {printable(name)}=VALUE, or export the variable before.",
            )
        given[name] = value if equals else env[name]
    return given


def combination(texts: Sequence[str]) -> dict[str, str]:
    """Return what `--matrix NAME=VALUE`, or VALUE for a matrix without names, means."""
    chosen: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        chosen[name if equals else ""] = value if equals else text
    return chosen
