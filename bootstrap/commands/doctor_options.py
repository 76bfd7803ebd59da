"""`airlock doctor`: its arguments."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.parsers import Commands, command, config, json

if TYPE_CHECKING:
    from bootstrap.command_line import Arguments

_AGENT = Path("/etc/buildkite-agent/buildkite-agent.cfg")


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    text = (
        "check what Airlock assumes of this host, and print how to correct it; the exit status is "
        "1 if a check fails, 3 if one could not be made"
    )
    parser = command(commands, "doctor", text)
    config(parser)
    parser.add_argument(
        "--agent-config",
        type=Path,
        default=_AGENT,
        metavar="FILE",
        help=f"buildkite-agent.cfg of this host (default: {_AGENT})",
    )
    parser.add_argument(
        "--at",
        choices=("image", "start", "run"),
        default="run",
        help="only what can hold in the build of a machine image, or before the service starts "
        "(default: run, all checks)",
    )
    text = "leave this check out; may be repeated"
    parser.add_argument("--skip", action="append", default=[], metavar="CHECK", help=text)
    text = "count warnings as failures"
    parser.add_argument("--strict", action="store_true", help=text)
    text = "first repair what can be repaired safely, and print what was changed"
    parser.add_argument("--fix", action="store_true", help=text)
    json(parser)


def run(args: "Arguments", show: Callable[[str], None]) -> int:
    """Run the command and return its status."""
    from bootstrap.commands.doctor import doctor  # noqa: PLC0415 - see bootstrap/cli.py

    return doctor(
        config_path=args.config_path, agent_config=args.agent_config, at=args.at, skip=args.skip,
        strict=args.strict, fix=args.fix, as_json=args.as_json, output=show,
    )  # fmt: skip
