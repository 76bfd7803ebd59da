"""The command line: the only reader of argv."""

import argparse
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from bootstrap import __version__
from bootstrap.commands import doctor_options, host_options, record_options, replay_options
from bootstrap.commands.policy import (
    build_options,
    producing_options,
    publishing_options,
    writing_options,
)
from bootstrap.parsers import Commands, Parser, command, config, directory, json, policies


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
    job: Path | None
    given: Mapping[str, Any]  # of a described build, as a case states it
    against: Path | None
    min_coverage: float
    old: Path | None  # None: what the host's store has now
    new: Path
    allow_empty: bool
    save_versions: Path | None
    wanted: str
    page: Path
    accounts: Path | None
    host_role: str
    organization: str | None
    drift: Path | None
    document: str
    records: Path | None
    dry_run: bool
    prune: bool
    yes: bool
    versions: Path | None
    check: bool
    final: bool
    shell: str
    pipeline: str
    repository: str
    role: str | None
    branch: str
    parameters: Path | None
    prefix: str
    steps: list[Path]
    trust: str
    trust_policies: list[Path]
    paths: list[Path]
    form: str
    source: str  # of one job: see commands/input_options.py
    kind: str | None
    variables: list[str]
    step: str | None
    matrix: list[str]
    api_url: str
    commit_on_branch: str | None
    named: str
    target: Path | None
    limit: int
    job_log: Path | None
    docker: str | None
    agent: Path | None
    dns: list[IPv4Address]
    output: Path
    image: str | None
    checkout: Path | None
    job_command: str | None
    until: str | None
    prompt: str
    keep: bool
    compare: bool
    profile: str | None
    assume: str | None
    api_secrets: list[str]
    oidc_stub: bool
    artifacts: Path | None
    meta_data: list[str]
    interpolate: bool
    agent_config: Path
    at: str
    skip: list[str]
    strict: bool
    fix: bool
    iam_form: str | None  # None: the default of what is printed


def parse() -> Arguments:
    """Return the arguments in sys.argv; ends the process with status 2 if they are wrong."""
    return whole().parse_args(namespace=Arguments())


def whole() -> Parser:
    """Return the parser of every command."""
    parser = Parser(
        prog="airlock",
        description="Run Buildkite jobs, each in a sandbox with its own policy and credentials.",
    )
    parser.add_argument("--version", action="version", version=f"airlock {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _bootstrap(commands)
    _admit(commands)
    _serve(commands)
    host_options.add(commands)
    doctor_options.add(commands)
    _policy(commands)
    replay_options.add(commands)
    record_options.add(commands)
    _completion(commands)
    return parser


def _bootstrap(commands: Commands) -> None:
    text = "run one job; buildkite-agent starts this as its bootstrap-script"
    config(command(commands, "bootstrap", text))


def _admit(commands: Commands) -> None:
    text = "decide whether a job may start; the agent's pre-bootstrap hook runs this"
    parser = command(commands, "admit", text)
    config(parser)
    text = "no `airlock bootstrap` follows: refuse also what is not decided, and what needs it"
    parser.add_argument("--final", action="store_true", help=text)


def _serve(commands: Commands) -> None:
    text = "run the resident service, to which the agents' launchers pass their jobs"
    parser = command(commands, "serve", text)
    config(parser)
    text = "only try whether the service could be started with this configuration"
    parser.add_argument("--check", action="store_true", help=text)


def _completion(commands: Commands) -> None:
    text = "print what completes this command line in a shell"
    parser = command(commands, "completion", text)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")


def _policy(commands: Commands) -> None:
    parser = command(commands, "policy", "check, test, query and publish policies")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _lint(verbs)
    _test(verbs)
    _explain(verbs)
    _simulate(verbs)
    _who_can(verbs)
    producing_options.add(verbs)
    publishing_options.add(verbs)
    writing_options.add(verbs)


def _lint(verbs: Commands) -> None:
    text = "report mistakes and risks in policies; the exit status is 1 if there is an error"
    parser = command(verbs, "lint", text)
    policies(parser, option=False)
    text = "do not report findings with this id; may be repeated"
    parser.add_argument("--ignore", action="append", default=[], metavar="ID", help=text)
    json(parser)


def _test(verbs: Commands) -> None:
    text = "run the test cases of policies; the exit status is 1 if one fails"
    parser = command(verbs, "test", text)
    directory(parser)
    parser.add_argument("--junit", type=Path, metavar="FILE", help="also write JUnit XML to FILE")
    text = "fail if passed cases are admitted by fewer of the rules than this (default: 0)"
    parser.add_argument(
        "--min-coverage", type=_percentage, default=0.0, metavar="PERCENT", help=text
    )
    json(parser)


def _percentage(text: str) -> float:
    """Return a number from 0 to 100. argparse prints what an ArgumentTypeError says."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 100, got {text!r}")
    return number


def _explain(verbs: Commands) -> None:
    text = "show how each rule judges one job; the exit status is 77 if the job is refused"
    parser = command(verbs, "explain", text)
    text = "a job's record, or a copy of its BUILDKITE_ENV_JSON_FILE or BUILDKITE_ENV_FILE"
    parser.add_argument("job", type=Path, nargs="?", metavar="JOB", help=text)
    policies(parser, option=True)
    json(parser)
    build_options.add(parser)


def _simulate(verbs: Commands) -> None:
    text = "decide about recorded jobs again; the exit status is 1 if a decision changes "
    text += "or a record cannot be read"
    parser = command(verbs, "simulate", text)
    policies(parser, option=False, with_config=True)
    text = "directory of job records (default: the records of this host)"
    parser.add_argument("--records", type=Path, metavar="DIR", help=text)
    text = "directory of policies to compare with (default: what was recorded)"
    parser.add_argument("--against", type=Path, metavar="DIR", help=text)
    json(parser)


def _who_can(verbs: Commands) -> None:
    text = "list the pipelines, branches and teams that can reach a role, secret, key or image"
    parser = command(verbs, "who-can", text)
    parser.add_argument("wanted", metavar="NAME", help="its name, or a glob that matches names")
    policies(parser, option=True)
    json(parser)
