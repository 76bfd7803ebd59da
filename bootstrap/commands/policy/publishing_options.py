"""The verbs of `airlock policy` that compare and publish versions: their arguments, what runs."""
# ruff: noqa: PLC0415 - a command imports what it needs only when it runs

from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.parsers import Commands, command, config, directory, json

if TYPE_CHECKING:
    from bootstrap.command_line import Arguments
    from bootstrap.commands.policy.source import Output


def add(verbs: Commands) -> None:
    """Add the verbs to the command line."""
    _diff(verbs)
    _push(verbs)
    _pull(verbs)


def run(args: "Arguments", output: "Output") -> int:
    """Run the verb of these arguments and return its status."""
    match args.verb:
        case "diff":
            from bootstrap.commands.policy.diff import diff
            from bootstrap.commands.policy.source import Form

            return diff(
                old=args.old, new=args.new, config_path=args.config_path,
                form=Form.JSON if args.as_json else Form(args.form),
                allow_empty=args.allow_empty, save_versions=args.save_versions, output=output,
            )  # fmt: skip
        case "push":
            from bootstrap.commands.policy.push import Options, push

            options = Options(
                dry_run=args.dry_run, prune=args.prune, yes=args.yes, versions=args.versions,
                as_json=args.as_json,
            )  # fmt: skip
            return push(
                directory=args.directory, config_path=args.config_path, options=options,
                output=output,
            )  # fmt: skip
        case "pull":
            from bootstrap.commands.policy.pull import pull

            return pull(
                directory=args.directory, config_path=args.config_path, dry_run=args.dry_run,
                as_json=args.as_json, output=output,
            )  # fmt: skip
        case _:
            raise AssertionError(args.verb)


def _side(text: str) -> Path | None:
    """Return a directory, None for the store. A directory of that name is ./store."""
    return None if text == "store" else Path(text)


def _diff(verbs: Commands) -> None:
    text = "show how access changes between two versions; the exit status is 1 if it does"
    parser = command(verbs, "diff", text)
    text = "directory of policies before, or `store`: what the host's configuration names as store"
    parser.add_argument("old", type=_side, metavar="OLD", help=text)
    parser.add_argument("new", type=Path, metavar="NEW", help="directory of policies after")
    json(parser, "markdown", "sarif")
    text = "compare also if one of the two has no policies at all, as before the first one"
    parser.add_argument("--allow-empty", action="store_true", help=text)
    text = "with `store`: write the versions of the store's parameters to FILE, for push --versions"
    parser.add_argument("--save-versions", type=Path, metavar="FILE", help=text)
    config(parser)


def _push(verbs: Commands) -> None:
    text = "write policies and guardrails to the host's store in SSM, unless lint finds an error"
    parser = command(verbs, "push", text)
    directory(parser)
    config(parser)
    text = "only print what would be written and removed"
    parser.add_argument("--dry-run", action="store_true", help=text)
    text = "also remove pipelines that are not in the directory, after a question"
    parser.add_argument("--prune", action="store_true", help=text)
    parser.add_argument("--yes", action="store_true", help="do not ask before removing")
    text = (
        "write nothing if the store is not as it was when `diff --save-versions` or `pull` wrote "
        "FILE (default: .airlock-versions.json in DIR, if it exists)"
    )
    parser.add_argument("--versions", type=Path, metavar="FILE", help=text)
    json(parser)


def _pull(verbs: Commands) -> None:
    text = "write the policies and guardrails in the host's store in SSM to a directory"
    parser = command(verbs, "pull", text)
    text = "directory to write to, which must be empty or not exist"
    parser.add_argument("directory", type=Path, metavar="DIR", help=text)
    config(parser)
    text = "only print what would be written"
    parser.add_argument("--dry-run", action="store_true", help=text)
    json(parser)
