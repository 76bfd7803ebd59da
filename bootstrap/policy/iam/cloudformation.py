"""The stack of an account as a CloudFormation template in YAML."""

from typing import Any

import yaml

from bootstrap.aws.iam import AUDIENCE
from bootstrap.policy.iam.model import Document, Role, parts
from bootstrap.policy.iam.stack import PROVIDER_URL, Stack, logical

_PROVIDER = {
    "Parameters": {
        "BuildkiteProvider": {
            "Type": "String",
            "AllowedValues": ["create", "exists"],
            "Default": "create",
            "Description": "exists: the account already has Buildkite as an identity provider",
        }
    },
    "Conditions": {"CreateProvider": {"Fn::Equals": [{"Ref": "BuildkiteProvider"}, "create"]}},
}


class _Plain(yaml.SafeDumper):
    """Repeats equal lists instead of naming them: CloudFormation knows no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def as_cloudformation(stack: Stack) -> str:
    """Return the template: the roles with their trust, and what Airlock itself needs.

    The permissions of the roles are the operator's: attach them by name, in a stack of your own.
    """
    resources: Document = {}
    for number, document in enumerate(stack.host, start=1):
        resources[f"HostPolicy{number}"] = _host_policy(stack, number, document)
    if stack.provider:
        resources["Buildkite"] = {
            "Type": "AWS::IAM::OIDCProvider",
            "Condition": "CreateProvider",
            "Properties": {"Url": PROVIDER_URL, "ClientIdList": [AUDIENCE]},
        }
    for role in stack.roles:
        resources[logical(role.arn)] = _role(role, stack)
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Airlock's IAM of account {stack.account}",
        **(_PROVIDER if stack.provider else {}),
        "Resources": resources,
    }
    return stack.commented + yaml.dump(
        template, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100
    )


def _host_policy(stack: Stack, number: int, document: Document) -> Document:
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "Description": f"What Airlock needs on its hosts, part {number} of {len(stack.host)}",
            "Roles": [parts(stack.host_role)[1]],
            "PolicyDocument": document,
        },
    }


def _role(role: Role, stack: Stack) -> Document:
    path, name = parts(role.arn)
    properties: dict[str, Any] = {
        "RoleName": name,
        "Path": path,
        "MaxSessionDuration": int(role.longest.total_seconds()),
        "AssumeRolePolicyDocument": role.trust,
    }
    if role.policy:
        properties["Policies"] = [{"PolicyName": "airlock", "PolicyDocument": role.policy}]
    after = stack.after(role)
    waits = {"DependsOn": list(after)} if after else {}
    return {"Type": "AWS::IAM::Role", **waits, "Properties": properties}
