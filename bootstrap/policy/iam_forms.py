"""The documents of `policy.iam` as other tools read them."""

import json
import re

from bootstrap.policy.iam import Document, Iam


def as_json(made: Iam) -> Document:
    """Return all documents by their purpose."""
    return {
        "host-role": made.host,
        "hop-roles": dict(made.hops),
        "trust": dict(made.trust),
        "scp": made.scp,
    }


def as_cloudformation(made: Iam) -> Document:
    """Return a template: the hosts' policy, and the roles with their trust and no permission yet.

    For one account; roles of other accounts belong in a stack of that account.
    """
    resources: Document = {
        "AirlockHostPolicy": {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyName": "airlock",
                "Roles": [_parts(made.host_role)[1]],
                "PolicyDocument": made.host,
            },
        }
    }
    for role, trust in made.trust.items():
        path, name = _parts(role)
        resources[_logical(role)] = {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": name,
                "Path": path,
                "AssumeRolePolicyDocument": trust,
                **_inline(made.hops.get(role)),
            },
        }
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


def _inline(document: Document | None) -> Document:
    return {"Policies": [{"PolicyName": "airlock", "PolicyDocument": document}]} if document else {}


def as_terraform(made: Iam) -> Document:
    """Return the same in Terraform's JSON syntax, for a file named *.tf.json."""
    roles = {
        _logical(role): {
            "name": _parts(role)[1],
            "path": _parts(role)[0],
            "assume_role_policy": json.dumps(trust),
        }
        for role, trust in made.trust.items()
    }
    host = {"name": "airlock", "role": _parts(made.host_role)[1], "policy": json.dumps(made.host)}
    hops = {
        _logical(role): {
            "name": "airlock",
            "role": f"${{aws_iam_role.{_logical(role)}.name}}",
            "policy": json.dumps(document),
        }
        for role, document in made.hops.items()
    }
    return {"resource": {"aws_iam_role_policy": {"airlock": host, **hops}, "aws_iam_role": roles}}


def _parts(role: str) -> tuple[str, str]:
    """Return path and name of a role's ARN."""
    path, _, name = role.partition(":role/")[2].rpartition("/")
    return f"/{path}/" if path else "/", name


def _logical(role: str) -> str:
    """Return a logical id; the account distinguishes roles of the same name."""
    words = re.findall(r"[A-Za-z0-9]+", role.partition(":role/")[2])
    return "".join(word.capitalize() for word in words) + role.split(":")[4]
