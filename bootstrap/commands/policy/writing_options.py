"""The verbs of `airlock policy` that write documents: their arguments, and which command runs."""
# ruff: noqa: PLC0415 - a command imports what it needs only when it runs

from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.parsers import Commands, command, config, json

if TYPE_CHECKING:
    from bootstrap.command_line import Arguments
    from bootstrap.commands.policy.source import Output


def add(verbs: Commands) -> None:
    """Add the verbs to the command line."""
    _init(verbs)
    _import(verbs)
    _draft(verbs)
    _fmt(verbs)


def run(args: "Arguments", output: "Output") -> int:
    """Run the verb of these arguments and return its status."""
    match args.verb:
        case "init":
            from bootstrap.commands.policy.init import init

            return init(
                directory=args.directory, pipeline=args.pipeline, repository=args.repository,
                branch=args.branch, role=args.role, as_json=args.as_json, output=output,
            )  # fmt: skip
        case "import":
            from bootstrap.commands.policy.import_ import Sources, import_

            sources = Sources(
                parameters=args.parameters, prefix=args.prefix, steps=args.steps,
                pipeline=args.pipeline, repository=args.repository, trust=args.trust_policies,
            )  # fmt: skip
            return import_(
                directory=args.directory, sources=sources, as_json=args.as_json, output=output
            )
        case "draft":
            from bootstrap.commands.policy.draft import draft

            return draft(
                records=args.records, directory=args.directory, config_path=args.config_path,
                as_json=args.as_json, output=output,
            )  # fmt: skip
        case "fmt":
            from bootstrap.commands.policy.fmt import fmt

            return fmt(paths=args.paths, check=args.check, as_json=args.as_json, output=output)
        case _:
            raise AssertionError(args.verb)


def _init(verbs: Commands) -> None:
    parser = command(verbs, "init", "write a pipeline's first policy and its test cases")
    text = "directory of policies; files that exist are not changed"
    parser.add_argument("directory", type=Path, metavar="DIR", help=text)
    parser.add_argument("pipeline", metavar="PIPELINE", help="the pipeline's slug")
    text = "URL of the pipeline's repository, as Buildkite has it"
    parser.add_argument("--repository", required=True, metavar="URL", help=text)
    text = "branch that gets the role (default: main)"
    parser.add_argument("--branch", default="main", help=text)
    text = "role that builds of the branch get (default: none)"
    parser.add_argument("--role", metavar="ARN", help=text)
    json(parser)


def _import(verbs: Commands) -> None:
    text = "propose policies from what a fleet uses today; they are drafts to review"
    parser = command(verbs, "import", text)
    text = "directory to write to; existing files are not changed"
    parser.add_argument("directory", type=Path, metavar="DIR", help=text)
    text = "output of `aws ssm get-parameters-by-path --recursive`, with one parameter per setting"
    parser.add_argument("--ssm", dest="parameters", type=Path, metavar="FILE", help=text)
    text = "path that the parameters in FILE are below (default: /buildkite/pipelines)"
    parser.add_argument("--prefix", default="/buildkite/pipelines", metavar="PATH", help=text)
    text = "pipeline.yml whose plugins assume roles; may be repeated; needs --pipeline"
    parser.add_argument(
        "--steps", action="append", type=Path, default=[], metavar="FILE", help=text
    )
    parser.add_argument("--pipeline", metavar="SLUG", help="slug of the pipeline of --steps")
    text = "repository of pipelines for which no source names one"
    parser.add_argument("--repository", metavar="URL", help=text)
    text = (
        "roles that trust Buildkite's OIDC tokens: the output of `aws iam get-role`, `list-roles` "
        "or `get-account-authorization-details`; may be repeated"
    )
    parser.add_argument(
        "--trust",
        dest="trust_policies",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help=text,
    )
    json(parser)


def _draft(verbs: Commands) -> None:
    text = "write first versions of policies from the records of observed jobs"
    parser = command(verbs, "draft", text)
    text = "directory to write to; existing files are not changed"
    parser.add_argument("directory", type=Path, metavar="DIR", help=text)
    text = "directory of job records (default: the records of this host)"
    parser.add_argument("--records", type=Path, metavar="DIR", help=text)
    config(parser)
    json(parser)


def _fmt(verbs: Commands) -> None:
    text = "lay out documents in one way: indentation, spaces and line ends, nothing else"
    parser = command(verbs, "fmt", text)
    text = "document, or directory of documents"
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help=text)
    text = "change nothing; the exit status is 1 if a document would change"
    parser.add_argument("--check", action="store_true", help=text)
    json(parser)
