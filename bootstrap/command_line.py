"""The command line: argv is read here, once, and nowhere else."""

import argparse
import os
import sys
from importlib import import_module

from bootstrap import __version__
from bootstrap.cli_verbs import CONFIG, VERBS
from bootstrap.errors import AirlockError
from bootstrap.log import to_descriptor
from bootstrap.process import ENVIRONMENT

_CHOSEN = frozenset({"command", "verb"})


def run(process_env: dict[str, str]) -> int:
    """Run one command and return its exit status; 2 for a wrong command line.

    `process_env` is what this process was given and has already cleared (bootstrap.cli).
    """
    os.environ.update(ENVIRONMENT)
    arguments = _parser().parse_args()
    try:
        status = _dispatch(arguments, process_env)
        sys.stdout.flush()
        return status  # noqa: TRY300 - flushing is a part of what can fail
    except AirlockError as error:
        print(f"airlock: {error.problem}", *error.details, error.hint, sep="\n", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as in `airlock policy lint | head`: whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _dispatch(arguments: argparse.Namespace, process_env: dict[str, str]) -> int:
    """Import only what the command needs: every millisecond here is in front of every job."""
    match arguments.command:
        case "bootstrap":
            from bootstrap.commands.bootstrap import bootstrap  # noqa: PLC0415

            out = sys.stdout.fileno()
            return bootstrap(config_path=arguments.config_path, process_env=process_env, out=out)
        case "admit":
            from bootstrap.commands.admit import admit  # noqa: PLC0415

            write = to_descriptor(sys.stdout.fileno())
            return admit(config_path=arguments.config_path, process_env=process_env, write=write)
        case "gc":
            from bootstrap.commands.gc import gc  # noqa: PLC0415

            return gc(config_path=arguments.config_path, write=to_descriptor(sys.stdout.fileno()))
        case "policy":
            return _policy(arguments)
        case _:
            raise AssertionError(arguments.command)


def _policy(arguments: argparse.Namespace) -> int:
    name = arguments.verb.replace("-", "_")
    verb = getattr(import_module(f"bootstrap.commands.policy.{name}"), name)
    options = {key: value for key, value in vars(arguments).items() if key not in _CHOSEN}
    return int(verb(**options, say=print))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="airlock",
        description="Runs Buildkite jobs with their own policy and credentials, in a sealed room.",
    )
    parser.add_argument("--version", action="version", version=f"airlock {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("bootstrap", "run one job; buildkite-agent starts this as its bootstrap-script"),
        ("admit", "decide about one job before it starts; the agent's pre-bootstrap hook"),
        ("gc", "give back what dead jobs left on this host"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(*CONFIG.names, **CONFIG.options)
    add_policy(commands)
    return parser


def add_policy(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `airlock policy` and its verbs."""
    text = "check, test, ask about and publish policies"
    policy = commands.add_parser("policy", help=text, description=text)
    verbs = policy.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (words, arguments) in VERBS.items():
        parser = verbs.add_parser(verb, help=words, description=words)
        for argument in arguments:
            parser.add_argument(*argument.names, **argument.options)
