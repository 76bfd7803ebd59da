"""The commands about jobs that were: `airlock record` and `airlock why`."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.commands import input_options
from bootstrap.parsers import Commands, command, config, json, policies

if TYPE_CHECKING:
    from bootstrap.command_line import Arguments


def add(commands: Commands) -> None:
    """Define both."""
    _why(commands)
    parser = command(commands, "record", "list the records of jobs, and export one of them")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _export(verbs)
    _list(verbs)


def _why(commands: Commands) -> None:
    text = (
        "show whether a job would be admitted now, and what changed since its record; the exit "
        "status is 77 if it is refused"
    )
    parser = command(commands, "why", text)
    input_options.add(parser)
    policies(parser, option=False)
    parser.add_argument(
        "--commit-on-branch",
        choices=("verified", "elsewhere", "unknown"),
        help="what a host finds out about the commit (default: what the record says)",
    )
    json(parser)


def _export(verbs: Commands) -> None:
    parser = command(verbs, "export", "print a job's record without secrets")
    text = "the id of a job on this host, or a file; - is standard input"
    parser.add_argument("named", metavar="JOB", help=text)
    text = "write it there, readable by its owner alone (default: print it)"
    parser.add_argument("--output", dest="target", type=Path, metavar="FILE", help=text)
    config(parser)


def _list(verbs: Commands) -> None:
    parser = command(verbs, "list", "print the newest records of this host")
    text = "how many (default: 20)"
    parser.add_argument("--limit", type=_number, default=20, metavar="NUMBER", help=text)
    config(parser)
    json(parser)


def _number(text: str) -> int:
    """Return a number above 0. argparse prints what an ArgumentTypeError says."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:10]) < 10**9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return int(text)


def run(args: "Arguments", process_env: Mapping[str, str], show: Callable[[str], None]) -> int:
    """Run one of them. `process_env` is the environment of whoever runs it."""
    if args.command == "why":
        from bootstrap.commands.why import why  # noqa: PLC0415 - each command imports its own

        return why(
            source=args.source, options=input_options.options_of(args, process_env),
            commit_on_branch=args.commit_on_branch, env=process_env, directory=args.policies,
            config_path=args.config_path, as_json=args.as_json, output=show,
        )  # fmt: skip
    if args.verb == "export":
        from bootstrap.commands.record.export import export  # noqa: PLC0415

        return export(named=args.named, config_path=args.config_path, path=args.target, output=show)
    from bootstrap.commands.record.list import list_records  # noqa: PLC0415

    return list_records(
        config_path=args.config_path, limit=args.limit, as_json=args.as_json, output=show
    )
