"""`airlock replay`: its arguments, and the values that they become."""
# ruff: noqa: PLC0415 - a command imports what it needs only when it runs

import argparse
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.commands import input_options
from bootstrap.parsers import Commands, Parser, command

if TYPE_CHECKING:
    from bootstrap.command_line import Arguments


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    text = "run a job again on this machine, in the sandbox of your agents, without root"
    parser = command(commands, "replay", text)
    input_options.add(parser)
    text = "the job's log, for --compare (default: the one beside a record)"
    parser.add_argument("--log", dest="job_log", type=_path, metavar="FILE", help=text)
    parser.check = _together
    _of_machine(parser)
    _of_job(parser)
    _of_debugging(parser)
    _of_credentials(parser)


def run(args: "Arguments", process_env: Mapping[str, str], out: int) -> int:
    """Run the command and return its status."""
    from bootstrap.commands.replay import replay
    from bootstrap.replay import engine
    from bootstrap.replay.inputs.given import assignments
    from bootstrap.replay.options import Options, Shell, Until
    from bootstrap.secret import Secret

    asked = replace(input_options.options_of(args, process_env), log=args.job_log)
    secrets = assignments(args.api_secrets, process_env, option="--secret")
    options = Options(
        docker=engine.url(args.docker, process_env), agent=args.agent, image=args.image,
        checkout=args.checkout, command=args.job_command, shell=Shell(args.prompt),
        until=Until(args.until) if args.until else None, keep=args.keep, compare=args.compare,
        credentials=_credentials(args), dns=tuple(args.dns) or None, output=args.output,
        oidc_stub=args.oidc_stub, artifacts=args.artifacts,
        meta_data=assignments(args.meta_data, process_env, option="--meta-data"),
        secrets={name: Secret(value) for name, value in secrets.items()},
    )  # fmt: skip
    return replay(
        source=args.source, asked=asked, options=options, process_env=process_env, out=out
    )


def _together(found: Any) -> str:  # noqa: ANN401 - the arguments of this command
    """Return which option would be without effect beside another one, or ""."""
    if found.until and (found.job_command is not None or found.compare):
        other = "--compare" if found.compare else "--command"
        return f"{other} is about the command, which does not run with --until {found.until}"
    if found.job_log is not None and not found.compare:
        return "--log is for --compare alone: add that, or leave --log out"
    return ""


def _text(value: str) -> str:
    """Return a text that is not empty, as that of an unset variable of a shell is."""
    if not value.strip():
        raise argparse.ArgumentTypeError("expected a value, got an empty text")
    return value


def _role(value: str) -> str:
    from bootstrap.forms import role_arn

    try:
        return role_arn(value)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f"{wrong}; got {value!r}") from None


def _path(value: str) -> Path:
    return Path(_text(value))


def _credentials(args: "Arguments") -> Any:  # noqa: ANN401 - imported when it runs
    from bootstrap.replay.options import NoCredentials, OwnProfile

    if args.profile is None and args.assume is None:
        return NoCredentials()
    return OwnProfile(profile=args.profile, role=args.assume)


def _of_machine(parser: Parser) -> None:
    group = parser.add_argument_group("this machine")
    text = "socket of Docker Engine (default: $DOCKER_HOST, else unix:///var/run/docker.sock)"
    group.add_argument("--docker", type=_text, metavar="URL", help=text)
    text = "the buildkite-agent to run in the sandbox (default: the one on PATH)"
    group.add_argument("--agent", type=_path, metavar="FILE", help=text)
    text = "resolver that the job asks; may be repeated (default: this machine's)"
    group.add_argument("--dns", type=IPv4Address, action="append", default=[], metavar="ADDRESS",
                       help=text)  # fmt: skip
    text = "directory for artifacts, annotations and what is kept (default: airlock-replay)"
    group.add_argument("--output", type=_path, default=Path("airlock-replay"), metavar="DIR",
                       help=text)  # fmt: skip


def _of_job(parser: Parser) -> None:
    group = parser.add_argument_group("what is run")
    text = "another image than the job ran in"
    group.add_argument("--image", type=_text, metavar="IMAGE", help=text)
    text = "a working copy to use in place of a clone; the job changes only a copy of it"
    group.add_argument("--checkout", type=_path, metavar="DIR", help=text)
    text = "another command than the job's"
    group.add_argument("--command", dest="job_command", type=_text, metavar="COMMAND", help=text)
    text = "directory with the artifacts of earlier jobs of the build, under their paths"
    group.add_argument("--artifacts", type=_path, metavar="DIR", help=text)
    text = "meta-data that earlier jobs of the build have set; may be repeated"
    group.add_argument("--meta-data", action="append", default=[], metavar="KEY[=VALUE]", help=text)
    text = "end after this phase"
    group.add_argument("--until", choices=("checkout",), help=text)


def _of_debugging(parser: Parser) -> None:
    group = parser.add_argument_group("debugging")
    prompts = group.add_mutually_exclusive_group()
    for option, when, text in (
        ("--shell", "before", "a prompt in the checkout, in place of the command"),
        ("--shell-on-failure", "on-failure", "a prompt in the checkout after what has failed"),
    ):
        prompts.add_argument(
            option, dest="prompt", action="store_const", const=when, default="never", help=text
        )
    text = "keep the checkout, and print where it is"
    group.add_argument("--keep", action="store_true", help=text)
    text = "print how this run differs from the recorded one"
    group.add_argument("--compare", action="store_true", help=text)


def _of_credentials(parser: Parser) -> None:
    group = parser.add_argument_group("credentials", "Without these, the job has none.")
    text = "profile of your own AWS configuration, with which the job's role is assumed"
    group.add_argument("--profile", type=_text, metavar="NAME", help=text)
    text = "another role than the job's"
    group.add_argument("--assume", type=_role, metavar="ARN", help=text)
    text = (
        "a secret that `buildkite-agent secret get` finds; may be repeated. NAME alone takes the "
        "value from this environment"
    )
    group.add_argument("--secret", dest="api_secrets", action="append", default=[],
                       metavar="NAME[=VALUE]", help=text)  # fmt: skip
    text = "let `buildkite-agent oidc request-token` print a token that nobody accepts"
    group.add_argument("--oidc-stub", action="store_true", help=text)
