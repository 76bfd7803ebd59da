"""The entry point: clear the environment, run the command, return its exit status.

Nothing is imported before the environment is cleared: libraries act upon import. OpenSSL, for one,
reads OPENSSL_CONF when something is hashed for the first time, and runs code that it names. After
that each command imports what it needs: every millisecond here delays every job.
"""
# ruff: noqa: PLC0415 - imports inside of functions, for both reasons above

import os

TYPE_CHECKING = False  # type checkers take it for typing's, which would be an import
if TYPE_CHECKING:
    from typing import TextIO

    from bootstrap.command_line import Arguments
    from bootstrap.errors import AirlockError

DEFAULT_CONFIG = "/etc/airlock/airlock.toml"
# New objects between two collections of cycles. Imports create many that stay: with Python's own
# number, 700, a tenth of the time until a job's container starts is spent on looking at them.
OBJECTS = 50_000


def cleared() -> dict[str, str] | None:
    """Clear the environment and return what it was; None, and it stays, if a name is empty.

    Values are decoded as the agent's files are, whatever locale a job sets: what differs from them
    counts as the agent's (bootstrap/job/assemble.py). No program can remove an empty name.
    """
    if b"" in os.environb:
        return None
    pairs = {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in os.environb.items()
    }
    os.environ.clear()
    return pairs


def without_argparse(argv: list[str]) -> "Arguments | None":
    """Return the arguments of what agents and systemd start, None if they are not just those.

    argparse and its parsers take as long as reading a job and deciding about it, and of the
    service's memory they would be a part that no worker needs.
    """
    from pathlib import Path
    from types import SimpleNamespace
    from typing import cast

    match argv:
        case ["bootstrap" | "admit" | "serve" as command]:
            config = DEFAULT_CONFIG
        case ["bootstrap" | "admit" | "serve" as command, "--config", config] if config[:1] != "-":
            pass
        case _:
            return None
    given = SimpleNamespace(command=command, config_path=Path(config), final=False, check=False)
    return cast("Arguments", given)


def main() -> int:
    """Run one command and return its exit status; 2 for a wrong command line."""
    process_env = cleared()
    if process_env is None:
        os.write(2, b"airlock: the environment has a variable without a name; no job may set one\n")
        return 77
    import gc
    import sys

    gc.set_threshold(OBJECTS)
    from bootstrap.process import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_standard()
    if process_env.get("NO_COLOR") or process_env.get("TERM") == "dumb":
        os.environ["NO_COLOR"] = "1"
    try:
        return _status(process_env)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as in `airlock policy lint | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as failed:  # as in `airlock policy lint >/dev/full`
        from bootstrap.failures import unwritten

        _report(unwritten(failed))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 70  # 1 would be an answer of a policy command, or look like a job's own status


def _open_standard() -> None:
    """Lead closed standard descriptors to /dev/null: the next file would be opened as one of them.

    The status is an answer by itself, as in `airlock policy lint policies/ >&- 2>&-`.
    """
    import sys

    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        # What a command starts would have them closed.
        os.set_inheritable(opened, True)  # noqa: FBT003
    os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (
        stream or open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
        for number, (mode, stream) in enumerate(
            (("r", sys.stdin), ("w", sys.stdout), ("w", sys.stderr))
        )
    )


def _status(process_env: dict[str, str]) -> int:
    """Run the command of argv and return its status, also if it failed."""
    import sys

    from bootstrap.errors import AirlockError

    args = None
    try:
        args = without_argparse(sys.argv[1:])
        if args is None:
            from bootstrap.command_line import parse

            args = parse()
        status = _run(args, process_env, sys.stdout.fileno())
        if args.command == "bootstrap":
            os._exit(status)  # what the interpreter does at its end may fail, or wait for threads
        sys.stdout.flush()
        return status  # noqa: TRY300 - flushing can fail too
    except AirlockError as error:
        return _report(error)
    except OSError:
        raise
    except Exception as unexpected:
        if args is None or args.command not in _FOR_PEOPLE:
            raise
        from bootstrap.failures import bug

        return _report(bug(unexpected))


_FOR_PEOPLE = (
    "policy",
    "record",
    "why",
    "replay",
    "doctor",
    "completion",
)  # others: bugs have a traceback


def _report(error: "AirlockError") -> int:
    import sys

    from bootstrap import failures

    text = failures.of(error, as_json=failures.is_json_wanted(sys.argv[1:]))
    sys.stderr.write(_painted(text, sys.stderr))
    return error.exit_code


def _run(args: "Arguments", process_env: dict[str, str], out: int) -> int:
    match args.command:
        case "bootstrap":
            from bootstrap.commands.bootstrap import bootstrap

            return bootstrap(config_path=args.config_path, process_env=process_env, out=out)
        case "admit":
            from bootstrap.commands.admit import admit
            from bootstrap.log import to_descriptor

            write = to_descriptor(out)
            return admit(
                config_path=args.config_path, process_env=process_env, write=write,
                final=args.final,
            )  # fmt: skip
        case "serve":
            from bootstrap.commands.serve import serve

            return serve(config_path=args.config_path, process_env=process_env, check=args.check)
        case "gc" | "firewall":
            from bootstrap.commands import host_options

            return host_options.run(args, out)
        case _:
            return _for_people(args, process_env, out)


def _for_people(args: "Arguments", process_env: dict[str, str], out: int) -> int:
    """Run a command that people run, and whose failures are sentences."""
    match args.command:
        case "policy":
            return _policy(args)
        case "record" | "why":
            from bootstrap.commands import record_options

            return record_options.run(args, process_env, _show)
        case "replay":
            from bootstrap.commands import replay_options

            return replay_options.run(args, process_env, out)
        case "doctor":
            from bootstrap.commands import doctor_options

            return doctor_options.run(args, _show)
        case "completion":
            from bootstrap.command_line import whole
            from bootstrap.commands.completion import completion

            return completion(shell=args.shell, parser=whole(), output=_show)
        case _:
            raise AssertionError(args.command)


def _show(text: str) -> None:
    """Print it without control sequences: much of it was written by policy authors and jobs."""
    import sys

    from bootstrap.text import on_terminal

    sys.stdout.write(f"{_painted(on_terminal(text), sys.stdout)}\n")


def _painted(text: str, stream: "TextIO") -> str:
    from bootstrap import colour

    wanted = colour.is_wanted(os.environ, terminal=stream.isatty())
    return colour.painted(text) if wanted else text


_QUERIES = ("lint", "test", "explain", "simulate", "who-can")
_WRITERS = ("init", "import", "fmt", "draft")
_PUBLISHERS = ("diff", "push", "pull")


def _policy(args: "Arguments") -> int:
    from bootstrap.commands.policy import producing_options, publishing_options, writing_options

    if args.verb in _WRITERS:
        return writing_options.run(args, _show)
    if args.verb in _PUBLISHERS:
        return publishing_options.run(args, _show)
    return _query(args) if args.verb in _QUERIES else producing_options.run(args, _show)


def _query(args: "Arguments") -> int:
    """Run a verb of `airlock policy` that prints what it finds."""
    match args.verb:
        case "lint":
            from bootstrap.commands.policy.lint import lint

            return lint(
                directory=args.policies, config_path=args.config_path, ignore=args.ignore,
                as_json=args.as_json, output=_show,
            )  # fmt: skip
        case "test":
            from bootstrap.commands.policy.test import test

            return test(
                directory=args.directory, junit=args.junit, min_coverage=args.min_coverage,
                as_json=args.as_json, output=_show,
            )  # fmt: skip
        case "explain":
            from bootstrap.commands.policy.explain import explain

            return explain(
                job=args.job, pipeline=args.pipeline, given=args.given,
                directory=args.policies, config_path=args.config_path, as_json=args.as_json,
                output=_show,
            )  # fmt: skip
        case "simulate":
            from bootstrap.commands.policy.simulate import simulate

            return simulate(
                directory=args.policies, records=args.records, against=args.against,
                config_path=args.config_path, as_json=args.as_json, output=_show,
            )  # fmt: skip
        case "who-can":
            from bootstrap.commands.policy.who_can import who_can

            return who_can(
                wanted=args.wanted, directory=args.policies, config_path=args.config_path,
                as_json=args.as_json, output=_show,
            )  # fmt: skip
        case _:
            raise AssertionError(args.verb)
