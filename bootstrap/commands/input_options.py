"""Options of the commands that take one job from wherever a developer has it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bootstrap.parsers import Parser
from bootstrap.replay.inputs.given import assignments, combination
from bootstrap.replay.model import API_URL, InputOptions, Kind

if TYPE_CHECKING:
    from bootstrap.command_line import Arguments


def add(parser: Parser) -> None:
    """Add the job and what says more about it."""
    text = (
        "a job's record, a copy of its BUILDKITE_ENV_FILE or BUILDKITE_ENV_JSON_FILE, the URL of a "
        "job on Buildkite, or a pipeline.yml; - is standard input"
    )
    parser.add_argument("source", metavar="JOB", help=text)
    group = parser.add_argument_group("the job")
    text = "what JOB is, where that cannot be seen"
    group.add_argument("--kind", choices=tuple(Kind), help=text)
    text = (
        "a variable of the job, in place of what JOB has or does not have; may be repeated. NAME "
        "alone takes the value from this environment"
    )
    group.add_argument("--env", dest="variables", action="append", default=[],
                       metavar="NAME[=VALUE]", help=text)  # fmt: skip
    text = "the step of a pipeline.yml: its key, else its label, else its number from 1 on"
    group.add_argument("--step", metavar="KEY|LABEL|NUMBER", help=text)
    text = "a value of the step's matrix; may be repeated"
    group.add_argument("--matrix", action="append", default=[], metavar="[NAME=]VALUE", help=text)
    text = "leave every $ of a pipeline.yml as it is: the file is what an upload has sent"
    group.add_argument("--no-interpolation", dest="interpolate", action="store_false", help=text)
    text = f"Buildkite's REST API, for the URL of a job (default: {API_URL})"
    group.add_argument("--api-url", default=API_URL, metavar="URL", help=text)


def options_of(args: "Arguments", process_env: Mapping[str, str]) -> InputOptions:
    """Return what the arguments say about the job. Raises WrongConfiguration."""
    return InputOptions(
        kind=Kind(args.kind) if args.kind else None,
        given=assignments(args.variables, process_env),
        step=args.step,
        matrix=combination(args.matrix),
        interpolate=args.interpolate,
        api_url=args.api_url,
    )
