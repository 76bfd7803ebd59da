"""The stack of an account in Terraform's own language."""

import json
from collections.abc import Iterator
from typing import Any

from bootstrap.aws.iam import AUDIENCE
from bootstrap.policy.iam.model import Role, parts
from bootstrap.policy.iam.stack import PROVIDER_URL, Stack, host_description, logical

_PROVIDER = f"""variable "create_buildkite_provider" {{
  type        = bool
  default     = true
  description = "false: the account already has Buildkite as an identity provider"
}}

resource "aws_iam_openid_connect_provider" "buildkite" {{
  count          = var.create_buildkite_provider ? 1 : 0
  url            = "{PROVIDER_URL}"
  client_id_list = ["{AUDIENCE}"]
}}
"""


def as_terraform(stack: Stack) -> str:
    """Return the configuration: the same resources as the CloudFormation template."""
    return "\n".join([stack.commented, *_blocks(stack)])


def _blocks(stack: Stack) -> Iterator[str]:
    for number, document in enumerate(stack.host, start=1):
        name = f"airlock_host_{number}"
        yield _resource(
            "aws_iam_policy", name,
            name_prefix="airlock-host-", description=host_description(number),
            policy=_Encoded(document),
        )  # fmt: skip
        yield _resource(
            "aws_iam_role_policy_attachment", name,
            role=parts(stack.host_role)[1], policy_arn=_Expression(f"aws_iam_policy.{name}.arn"),
        )  # fmt: skip
    if stack.provider:
        yield _PROVIDER
    for role in stack.roles:
        yield from _role(role, stack)


def _role(role: Role, stack: Stack) -> Iterator[str]:
    path, name = parts(role.arn)
    after = ", ".join(f"aws_iam_role.{each}" for each in stack.after(role))
    yield _resource(
        "aws_iam_role", logical(role.arn),
        name=name, path=path, max_session_duration=int(role.longest.total_seconds()),
        **({"depends_on": _Expression(f"[{after}]")} if after else {}),
        assume_role_policy=_Encoded(role.trust),
    )  # fmt: skip
    if role.policy:
        yield _resource(
            "aws_iam_role_policy", logical(role.arn),
            name="airlock", role=_Expression(f"aws_iam_role.{logical(role.arn)}.name"),
            policy=_Encoded(role.policy),
        )  # fmt: skip


class _Expression(str):
    """An expression of Terraform's language."""

    __slots__ = ()


class _Encoded(dict[str, Any]):
    """A value that Terraform is to encode as JSON."""

    __slots__ = ()


def _resource(kind: str, label: str, /, **arguments: str | int | _Encoded) -> str:
    """Return a block as `terraform fmt` writes it: what has one line is aligned."""
    width = max(len(key) for key, value in arguments.items() if not isinstance(value, _Encoded))
    lines = (
        f"  {key} = {_written(value)}\n"
        if isinstance(value, _Encoded)
        else f"  {key:<{width}} = {_written(value)}\n"
        for key, value in arguments.items()
    )
    return f'resource "{kind}" "{label}" {{\n{"".join(lines)}}}\n'


def _written(value: str | int | _Encoded) -> str:
    """JSON is an expression of Terraform's language, but for its templates in strings."""
    if isinstance(value, _Expression):
        return str(value)
    if isinstance(value, _Encoded):
        text = json.dumps(value, indent=2, separators=(",", " : "), ensure_ascii=False)
        return f"jsonencode({_literal(text).replace(chr(10), chr(10) + '  ')})"
    return _literal(json.dumps(value, ensure_ascii=False))


def _literal(text: str) -> str:
    return text.replace("${", "$${").replace("%{", "%%{")
