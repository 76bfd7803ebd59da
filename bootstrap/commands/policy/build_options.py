"""Options that describe a build, for `airlock policy explain`."""

import argparse
from collections.abc import Sequence
from typing import Any

_ONE = (
    "branch", "source", "tag", "pull-request", "repository", "commit", "commit-on-branch", "step",
    "queue", "command", "creator", "creator-email", "organization", "signed",
)  # fmt: skip
_SEVERAL = ("creator-team", "author-team", "unblocker-team", "plugin")
_NAMED = ("agent-tag", "env")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options: one for each key of a case's `given`, and --pipeline."""
    text = "instead of JOB: a build of main that was started in the UI, but for what is given"
    group = parser.add_argument_group("a described build", text)
    group.add_argument("--pipeline", metavar="SLUG", help="its pipeline")
    for key in (*_ONE, *_SEVERAL, *_NAMED):
        metavar = "NAME=VALUE" if key in _NAMED else "VALUE"
        group.add_argument(
            f"--{key}", dest=f"given {key}", action=_Given, default=argparse.SUPPRESS,
            metavar=metavar,
        )  # fmt: skip
    parser.set_defaults(given={})


class _Given(argparse.Action):
    """Collects the description of a build in `given`, as a case states it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add one option; ends the process with status 2 if it has no value for its name."""
        del option_string
        key, known = self.dest.removeprefix("given "), dict(namespace.given)
        if key in _NAMED:
            name, equals, value = str(values).partition("=")
            if not equals:
                parser.error(f"argument --{key}: expected NAME=VALUE, got {values!r}")
            known[key] = {**known.get(key, {}), name: value}
        else:
            known[key] = [*known.get(key, []), values] if key in _SEVERAL else values
        namespace.given = known
