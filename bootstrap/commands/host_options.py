"""The commands that look after a host: `airlock gc` and `airlock firewall`."""

from typing import TYPE_CHECKING

from bootstrap.log import to_descriptor
from bootstrap.parsers import Commands, command, config

if TYPE_CHECKING:
    from bootstrap.command_line import Arguments


def add(commands: Commands) -> None:
    """Define both."""
    text = "remove what dead jobs left on this host, and what is beyond the budgets"
    parser = command(commands, "gc", text)
    config(parser)
    text = "only print what would be removed, and why"
    parser.add_argument("--dry-run", action="store_true", help=text)
    text = "load the ruleset of all containers, before Docker and the agent start"
    config(command(commands, "firewall", text))


def run(args: "Arguments", out: int) -> int:
    """Run one of them; its lines go to the descriptor `out`."""
    write = to_descriptor(out)
    if args.command == "gc":
        from bootstrap.commands.gc import gc  # noqa: PLC0415 - only what is needed

        return gc(config_path=args.config_path, dry_run=args.dry_run, write=write)
    from bootstrap.commands.firewall import firewall  # noqa: PLC0415 - the same

    return firewall(config_path=args.config_path, write=write)
