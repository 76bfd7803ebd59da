"""`airlock policy report`, `iam` and `schema`: their arguments, and the values that they become."""
# ruff: noqa: PLC0415 - a command imports what it needs only when it runs

from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.parsers import Commands, command, json, policies

if TYPE_CHECKING:
    from bootstrap.command_line import Arguments
    from bootstrap.commands.policy.source import Output


def add(verbs: Commands) -> None:
    """Add the verbs to the command line."""
    _report(verbs)
    _iam(verbs)
    _schema(verbs)


def run(args: "Arguments", output: "Output") -> int:
    """Run the verb and return its status."""
    match args.verb:
        case "report":
            from bootstrap.commands.policy.report import report

            return report(
                directory=args.policies, config_path=args.config_path, accounts=args.accounts,
                path=args.page, as_json=args.as_json, output=output,
            )  # fmt: skip
        case "iam":
            from bootstrap.commands.policy.iam import Asked, print_iam

            asked = Asked(
                host_role=args.host_role, account=args.account, organization=args.organization,
                trust=args.trust, trust_quota=args.trust_quota, keys=tuple(args.keys),
                form=args.iam_form, drift=args.drift,
            )  # fmt: skip
            return print_iam(
                directory=args.policies, config_path=args.config_path, asked=asked, output=output
            )
        case "schema":
            from bootstrap.commands.policy.schema import schema

            return schema(document=args.document, output=output)
        case _:
            raise AssertionError(args.verb)


def _report(verbs: Commands) -> None:
    text = "write an access map of all pipelines as one HTML page that works offline"
    parser = command(verbs, "report", text)
    policies(parser, option=False)
    parser.add_argument(
        "--output", dest="page", type=Path, required=True, metavar="FILE", help="file to write"
    )
    text = (
        "names of accounts: the output of `aws organizations list-accounts`, or a JSON object of "
        "ids and names"
    )
    parser.add_argument("--accounts", type=Path, metavar="FILE", help=text)
    json(parser)


def _iam(verbs: Commands) -> None:
    text = "print the IAM policies that the granted roles need, or how real roles differ from them"
    parser = command(verbs, "iam", text)
    policies(parser, option=False, with_config=True)
    text = "the role of the hosts that the agents run on"
    parser.add_argument("--host-role", required=True, metavar="ARN", help=text)
    text = "only the documents of this account; the other formats than json are of one account"
    parser.add_argument("--account", metavar="ID", help=text)
    parser.add_argument(
        "--trust",
        choices=("pipelines", "tags"),
        default="pipelines",
        help="whether trust policies name the pipelines and branches of rules, or rely on the "
        "session tags, so that no new pipeline changes them (default: pipelines)",
    )
    parser.add_argument(
        "--trust-policy-quota",
        dest="trust_quota",
        type=int,
        default=2048,
        metavar="CHARACTERS",
        help="the accounts' quota for the length of a role's trust policy (default: 2048)",
    )
    text = "key that encrypts secrets or policies; may be repeated (default: any that they use)"
    parser.add_argument(
        "--kms-key", dest="keys", action="append", default=[], metavar="ARN", help=text
    )
    parser.add_argument(
        "--organization",
        metavar="SLUG",
        help="the Buildkite organization whose OIDC tokens roles trust, for rules with "
        "`identity: buildkite` (default: the organization in the guardrails)",
    )
    parser.add_argument(
        "--format",
        dest="iam_form",
        choices=("json", "cloudformation", "terraform"),
        help="output format (default: json, with --drift lines of text)",
    )
    parser.add_argument(
        "--drift",
        type=Path,
        metavar="FILE",
        help="print how the roles in FILE, the output of `aws iam "
        "get-account-authorization-details`, differ; the exit status is 1 if they do",
    )
    parser.check = _differences


def _differences(found: "Arguments") -> str:
    """A stack has no differences."""
    if found.drift is None or found.iam_form in {None, "json"}:
        return ""
    return f"--drift prints text or JSON, not {found.iam_form}; leave --format out, or pass json"


def _schema(verbs: Commands) -> None:
    parser = command(verbs, "schema", "print the JSON Schema of a document, for editors")
    parser.add_argument(
        "document",
        choices=("policy", "guardrails", "cases"),
        nargs="?",
        default="policy",
        help="kind of document (default: policy)",
    )
    json(parser)
