"""The service control policies that keep everyone but the hosts from a job's roles."""

from collections.abc import Sequence

from bootstrap.aws.iam import ASSUME_ROLE, Statement
from bootstrap.policy.iam.model import Document
from bootstrap.policy.iam.quotas import SCP, Need, divided
from bootstrap.policy.iam.trust import PIPELINE


def service_control(callers: Sequence[str], roles: Sequence[str]) -> tuple[Document, ...]:
    """Let only `callers` assume a job's role, and only with a pipeline's session tag.

    They restrict the accounts that they are attached to as callers, not the roles' accounts.
    """
    if not roles:
        return ()

    def hosts_only(names: list[str]) -> Statement:
        condition = {"ArnNotEquals": {"aws:PrincipalArn": list(callers)}}
        return _deny("AirlockHostsOnly", names, condition)

    def tagged(names: list[str]) -> Statement:
        return _deny("AirlockTagged", names, {"Null": {PIPELINE: "true"}})

    return divided([Need(names=roles, made=made) for made in (hosts_only, tagged)], SCP)


def _deny(sid: str, roles: list[str], condition: Statement) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Action": ASSUME_ROLE,
        "Resource": roles,
        "Condition": condition,
    }
