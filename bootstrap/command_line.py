"""The command line: the only reader of argv."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from bootstrap import __version__, cli

DEFAULT_CONFIG = Path(cli.DEFAULT_CONFIG)


class Arguments(argparse.Namespace):
    """What argparse stores, with its types: mypy checks the calls in bootstrap.cli.

    A command has the arguments that its function below adds, and no others.
    """

    command: str
    verb: str
    config_path: Path
    directory: Path
    policies: Path | None  # None: the store that airlock.toml names
    as_json: bool
    ignore: list[str]
    junit: Path | None
    env_file: Path
    old: Path | None  # None: what the host's store has now
    new: Path
    allow_empty: bool
    save_versions: Path | None
    wanted: str
    page: Path
    host_role: str
    organization: str | None
    form: str
    drift: Path | None
    document: str
    records: Path | None
    dry_run: bool
    prune: bool
    yes: bool
    versions: Path | None
    check: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Add to argparse's message where the right arguments are listed."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {message}\nSee `{self.prog} --help`.\n")


_Commands = argparse._SubParsersAction  # noqa: SLF001 - it has no public name


def parse() -> Arguments:
    """Return the arguments in sys.argv; ends the process with status 2 if they are wrong."""
    parser = _Parser(
        prog="airlock",
        description="Run Buildkite jobs, each in a sandbox with its own policy and credentials.",
    )
    parser.add_argument("--version", action="version", version=f"airlock {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _bootstrap(commands)
    _admit(commands)
    _serve(commands)
    _gc(commands)
    _policy(commands)
    return parser.parse_args(namespace=Arguments())


def _command(commands: "_Commands[_Parser]", name: str, text: str) -> _Parser:
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")


def _config(parser: _Parser) -> None:
    parser.add_argument(
        "--config",
        dest="config_path",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"this host's configuration (default: {DEFAULT_CONFIG})",
    )


def _json(parser: _Parser) -> None:
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")


def _directory(parser: _Parser) -> None:
    text = "directory of <pipeline>.yaml, <pipeline>.test.yaml and guardrails.yaml"
    parser.add_argument("directory", type=Path, metavar="DIR", help=text)


def _policies(parser: _Parser, *, option: bool) -> None:
    """Add the directory that may be left out: as --policies, or as an argument."""
    text = "directory of policies (default: the store that the host's configuration names)"
    if option:
        parser.add_argument("--policies", type=Path, metavar="DIR", help=text)
    else:
        parser.add_argument("policies", type=Path, nargs="?", metavar="DIR", help=text)
    _config(parser)


def _bootstrap(commands: "_Commands[_Parser]") -> None:
    text = "run one job; buildkite-agent starts this as its bootstrap-script"
    _config(_command(commands, "bootstrap", text))


def _admit(commands: "_Commands[_Parser]") -> None:
    text = "decide whether a job may start; the agent's pre-bootstrap hook runs this"
    _config(_command(commands, "admit", text))


def _serve(commands: "_Commands[_Parser]") -> None:
    text = "run the resident service, to which the agents' launchers pass their jobs"
    parser = _command(commands, "serve", text)
    _config(parser)
    text = "only try whether the service could be started with this configuration"
    parser.add_argument("--check", action="store_true", help=text)


def _gc(commands: "_Commands[_Parser]") -> None:
    text = "remove what dead jobs left on this host, and what is beyond the budgets"
    parser = _command(commands, "gc", text)
    _config(parser)
    text = "only print what would be removed, and why"
    parser.add_argument("--dry-run", action="store_true", help=text)


def _policy(commands: "_Commands[_Parser]") -> None:
    parser = _command(commands, "policy", "check, test, query and publish policies")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _lint(verbs)
    _test(verbs)
    _explain(verbs)
    _diff(verbs)
    _who_can(verbs)
    _report(verbs)
    _iam(verbs)
    _schema(verbs)
    _draft(verbs)
    _push(verbs)
    _pull(verbs)


def _lint(verbs: "_Commands[_Parser]") -> None:
    text = "report mistakes and risks in policies; the exit status is 1 if there is an error"
    parser = _command(verbs, "lint", text)
    _policies(parser, option=False)
    text = "do not report findings with this id; may be repeated"
    parser.add_argument("--ignore", action="append", default=[], metavar="ID", help=text)
    _json(parser)


def _test(verbs: "_Commands[_Parser]") -> None:
    text = "run the test cases of policies; the exit status is 1 if one fails"
    parser = _command(verbs, "test", text)
    _directory(parser)
    parser.add_argument("--junit", type=Path, metavar="FILE", help="also write JUnit XML to FILE")


def _explain(verbs: "_Commands[_Parser]") -> None:
    text = "show how each rule judges one job; the exit status is 77 if the job is refused"
    parser = _command(verbs, "explain", text)
    text = "a copy of the agent's BUILDKITE_ENV_JSON_FILE or BUILDKITE_ENV_FILE for the job"
    parser.add_argument("env_file", type=Path, metavar="ENV-FILE", help=text)
    _policies(parser, option=True)
    _json(parser)


def _side(text: str) -> Path | None:
    """Return a directory, None for the store. A directory of that name is ./store."""
    return None if text == "store" else Path(text)


def _diff(verbs: "_Commands[_Parser]") -> None:
    text = "show how access changes between two versions; the exit status is 1 if it does"
    parser = _command(verbs, "diff", text)
    text = "directory of policies before, or `store`: what the host's configuration names as store"
    parser.add_argument("old", type=_side, metavar="OLD", help=text)
    parser.add_argument("new", type=Path, metavar="NEW", help="directory of policies after")
    parser.add_argument(
        "--format",
        dest="form",
        choices=("text", "markdown", "json", "sarif"),
        default="text",
        help="output format (default: text); markdown is for a comment on a pull request",
    )
    parser.add_argument("--json", dest="as_json", action="store_true", help="as --format json")
    text = "compare also if one of both has no policies at all, as before the first one"
    parser.add_argument("--allow-empty", action="store_true", help=text)
    text = "with `store`: write the versions of the store's parameters to FILE, for push --versions"
    parser.add_argument("--save-versions", type=Path, metavar="FILE", help=text)
    _config(parser)


def _who_can(verbs: "_Commands[_Parser]") -> None:
    text = "list the pipelines, branches and teams that can reach a role, secret, key or image"
    parser = _command(verbs, "who-can", text)
    parser.add_argument("wanted", metavar="NAME", help="its name, or a glob that matches names")
    _policies(parser, option=True)
    _json(parser)


def _report(verbs: "_Commands[_Parser]") -> None:
    text = "write an access map of all pipelines as one HTML page that works offline"
    parser = _command(verbs, "report", text)
    _policies(parser, option=False)
    parser.add_argument(
        "--output", dest="page", type=Path, required=True, metavar="FILE", help="file to write"
    )


def _iam(verbs: "_Commands[_Parser]") -> None:
    text = "print the IAM policies that the granted roles need, or how real roles differ from them"
    parser = _command(verbs, "iam", text)
    _policies(parser, option=False)
    text = "the role of the hosts that the agents run on"
    parser.add_argument("--host-role", required=True, metavar="ARN", help=text)
    parser.add_argument(
        "--organization",
        metavar="SLUG",
        help="the Buildkite organization whose OIDC tokens roles trust, for rules with "
        "`identity: buildkite` (default: the organization in the guardrails)",
    )
    parser.add_argument(
        "--format",
        dest="form",
        choices=("json", "cloudformation", "terraform"),
        default="json",
        help="output format (default: json)",
    )
    parser.add_argument(
        "--drift",
        type=Path,
        metavar="FILE",
        help="print how the roles in FILE, the output of `aws iam "
        "get-account-authorization-details`, differ; the exit status is 1 if they do",
    )


def _schema(verbs: "_Commands[_Parser]") -> None:
    parser = _command(verbs, "schema", "print the JSON Schema of a document, for editors")
    parser.add_argument(
        "document",
        choices=("policy", "guardrails", "cases"),
        nargs="?",
        default="policy",
        help="kind of document (default: policy)",
    )


def _draft(verbs: "_Commands[_Parser]") -> None:
    text = "write first versions of policies from the records of observed jobs"
    parser = _command(verbs, "draft", text)
    text = "directory to write to; existing files are not changed"
    parser.add_argument("directory", type=Path, metavar="DIR", help=text)
    text = "directory of job records (default: the records of this host)"
    parser.add_argument("--records", type=Path, metavar="DIR", help=text)
    _config(parser)


def _push(verbs: "_Commands[_Parser]") -> None:
    text = "write policies and guardrails to the host's store in SSM, unless lint finds an error"
    parser = _command(verbs, "push", text)
    _directory(parser)
    _config(parser)
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


def _pull(verbs: "_Commands[_Parser]") -> None:
    text = "write the policies and guardrails in the host's store in SSM to a directory"
    parser = _command(verbs, "pull", text)
    text = "directory to write to, which must be empty or not exist"
    parser.add_argument("directory", type=Path, metavar="DIR", help=text)
    _config(parser)
    text = "only print what would be written"
    parser.add_argument("--dry-run", action="store_true", help=text)
