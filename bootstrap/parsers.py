"""What the definitions of commands share: the parser, and arguments that many of them have."""

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from bootstrap import cli
from bootstrap.failures import is_json_wanted, shown

DEFAULT_CONFIG = Path(cli.DEFAULT_CONFIG)


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations, and whose errors say where the arguments are listed."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - they are argparse's
        super().__init__(allow_abbrev=False, **options)
        self.check: Callable[[Any], str] = lambda _: ""  # why arguments do not go together

    def parse_known_args(  # type: ignore[override]  # argparse's own is overloaded
        self,
        args: Sequence[str] | None = None,
        namespace: Any = None,  # noqa: ANN401
    ) -> tuple[Any, list[str]]:
        """Refuse what is left over here: argparse would name the options of `airlock` alone."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.error(f"unrecognized arguments: {' '.join(left)}{self._meant(left)}")
        if problem := self.check(found):
            self.error(problem)
        return found, left

    def _meant(self, left: Sequence[str]) -> str:
        options = [name for action in self._actions for name in action.option_strings]
        named = [text.partition("=")[0] for text in left if text.startswith("--")]
        close = get_close_matches(named[0], options, n=1) if named else []
        return f'; did you mean "{close[0]}"?' if close else ""

    def error(self, message: str) -> NoReturn:
        """End the process with status 2; with `--format json` the error is JSON."""
        hint = f"See `{self.prog} --help`."
        if is_json_wanted(sys.argv[1:]):
            self.exit(2, f"{shown(message, hint=hint, status=2)}\n")
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {message}\n{hint}\n")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - it has no public name


def command(commands: Commands, name: str, text: str) -> Parser:
    """Add a command; `text` begins with a small letter and has no full stop."""
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")


def config(parser: Parser) -> None:
    """Add --config."""
    parser.add_argument(
        "--config",
        dest="config_path",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"this host's configuration (default: {DEFAULT_CONFIG})",
    )


class _Form(argparse.Action):
    """Store the format, and whether it is JSON."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401 - so argparse declares it
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        namespace.form = values
        namespace.as_json = values == "json"


def json(parser: Parser, *others: str) -> None:
    """Add --format with text, json and the others, and the older --json."""
    parser.add_argument(
        "--format",
        dest="form",
        action=_Form,
        choices=("text", *others, "json"),
        default="text",
        help="output format (default: text); with json, errors are JSON too",
    )
    text = "as --format json"
    parser.add_argument("--json", dest="as_json", action="store_true", help=text)


def directory(parser: Parser) -> None:
    """Add the directory of policies, which must be named."""
    text = "directory of <pipeline>.yaml, <pipeline>.test.yaml and guardrails.yaml"
    parser.add_argument("directory", type=Path, metavar="DIR", help=text)


def policies(parser: Parser, *, option: bool, with_config: bool = False) -> None:
    """Add the directory that may be left out: as --policies, or as an argument.

    `with_config` is whether the verb reads the configuration even if there is a directory.
    """
    text = "directory of policies (default: the store that the host's configuration names)"
    if option:
        parser.add_argument("--policies", type=Path, metavar="DIR", help=text)
    else:
        parser.add_argument("policies", type=Path, nargs="?", metavar="DIR", help=text)
    config(parser)
    if not with_config:
        parser.check = _one_host


def _one_host(found: Any) -> str:  # noqa: ANN401 - the arguments of any verb
    """A directory stands for a host, so the configuration of another one would not count."""
    if found.policies is None or found.config_path is DEFAULT_CONFIG:
        return ""
    return (
        "--config is not read where a directory is named: its guardrails.yaml counts, and else a "
        "host's defaults. Leave one of the two out"
    )
