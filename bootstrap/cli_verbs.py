"""The verbs of `airlock policy` as the command line knows them: words and arguments.

A verb `x-y` is the function `x_y` of `bootstrap.commands.policy.x_y`, and what its arguments are
stored as are that function's keyword parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.host.config import DEFAULT_PATH


@dataclass(frozen=True, kw_only=True, slots=True)
class Argument:
    """One argument: its names, and what argparse has to know of it."""

    names: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def _argument(*names: str, **options: Any) -> Argument:  # noqa: ANN401 - argparse's own
    return Argument(names=names, options=options)


_DIRECTORY = _argument(
    "directory",
    type=Path,
    metavar="DIR",
    help="a directory of <pipeline>.yaml, <pipeline>.test.yaml and guardrails.yaml",
)
_OR_STORE = _argument(
    "directory",
    type=Path,
    nargs="?",
    metavar="DIR",
    help="a directory of policies (default: the store that the host's configuration names)",
)
_POLICIES = _argument(
    "--policies",
    dest="directory",
    type=Path,
    metavar="DIR",
    help="a directory of policies (default: the store that the host's configuration names)",
)
_JSON = _argument("--json", dest="as_json", action="store_true", help="print JSON")
CONFIG = _argument(
    "--config",
    dest="config_path",
    type=Path,
    default=DEFAULT_PATH,
    metavar="FILE",
    help=f"the host's configuration (default: {DEFAULT_PATH})",
)

VERBS: Mapping[str, tuple[str, tuple[Argument, ...]]] = {
    "lint": (
        "what is wrong with policies; exit status 1 if there are errors",
        (
            CONFIG,
            _OR_STORE,
            _argument(
                "--ignore", action="append", default=[], metavar="ID", help="leave out this finding"
            ),
            _JSON,
        ),
    ),
    "test": (
        "run the cases that stand beside policies; exit status 1 if one fails",
        (_DIRECTORY, _argument("--junit", type=Path, metavar="FILE", help="write JUnit XML too")),
    ),
    "explain": (
        "what the policies say to one job, rule by rule; exit status 77 if it is refused",
        (
            CONFIG,
            _argument(
                "env_file", type=Path, metavar="ENV-FILE", help="the job's environment, as the "
                "agent's BUILDKITE_ENV_FILE or BUILDKITE_ENV_JSON_FILE",
            ),
            _POLICIES,
            _JSON,
        ),
    ),
    "diff": (
        "who gains and who loses what between two versions; exit status 1 if anybody does",
        (
            _argument("old", type=Path, metavar="OLD", help="a directory of policies"),
            _argument("new", type=Path, metavar="NEW", help="a directory of policies"),
            _JSON,
        ),
    ),
    "who-can": (
        "which pipelines, branches and teams reach a role, secret, key or image",
        (
            CONFIG,
            _argument("wanted", metavar="NAME", help="its name, or a glob over names"),
            _POLICIES,
            _JSON,
        ),
    ),
    "report": (
        "an access map of all pipelines as one HTML page that works offline",
        (
            CONFIG,
            _OR_STORE,
            _argument(
                "--output", type=Path, required=True, metavar="FILE", help="where to write it"
            ),
        ),
    ),
    "iam": (
        "the IAM policies that the store's roles need, or how the real ones differ from them",
        (
            CONFIG,
            _OR_STORE,
            _argument(
                "--host-role", required=True, metavar="ARN", help="the role of the agents' hosts"
            ),
            _argument(
                "--organization",
                metavar="SLUG",
                help="whose tokens roles trust that are had by web identity (default: the "
                "guardrails' organization)",
            ),
            _argument(
                "--format",
                dest="form",
                choices=("json", "cloudformation", "terraform"),
                default="json",
                help="how to print them (default: json)",
            ),
            _argument(
                "--drift",
                type=Path,
                metavar="FILE",
                help="compare with this dump of `aws iam get-account-authorization-details`",
            ),
        ),
    ),
    "schema": (
        "the JSON Schema of a document, for editors",
        (
            _argument(
                "document",
                choices=("policy", "guardrails", "cases"),
                nargs="?",
                default="policy",
                help="which (default: policy)",
            ),
        ),
    ),
    "draft": (
        "write policies from the records of observed jobs",
        (
            CONFIG,
            _argument(
                "directory", type=Path, metavar="DIR", help="where to; what is there is left alone"
            ),
            _argument(
                "--records",
                type=Path,
                metavar="DIR",
                help="job records (default: those of this host)",
            ),
        ),
    ),
    "push": (
        "write a directory of policies into the host's SSM store; refuses what lint refuses",
        (
            CONFIG,
            _DIRECTORY,
            _argument("--dry-run", action="store_true", help="say what would be written"),
        ),
    ),
    "pull": (
        "write the host's SSM store into a directory",
        (
            CONFIG,
            _argument("directory", type=Path, metavar="DIR", help="empty, or not there yet"),
        ),
    ),
}  # fmt: skip
