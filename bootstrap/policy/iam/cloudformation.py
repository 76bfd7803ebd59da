"""The stack of an account as a CloudFormation template in YAML."""

from typing import Any

import yaml

from bootstrap.aws.iam import AUDIENCE
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam.model import Document, Role, parts
from bootstrap.policy.iam.stack import PROVIDER_URL, Stack, host_description, logical

TEMPLATE, TEMPLATE_BODY = 1_000_000, 51_200  # bytes of a template: in S3, and in the call itself
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

    Raises WrongConfiguration for one that CloudFormation would not take.
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
    text = yaml.dump(template, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)
    return _of_size(stack.commented + text, stack.account)


def _of_size(template: str, account: str) -> str:
    """Return the template, with a comment if it has to be deployed by way of S3."""
    size = len(template.encode())
    if size > TEMPLATE:
        raise WrongConfiguration(
            f"the template of account {account} has {size:,} bytes; CloudFormation takes "
            f"{TEMPLATE:,}",
            hint="Let pipelines share roles (docs/aws.md#a-catalogue-of-roles), or write the stack "
            "with --format terraform.",
        )
    if size <= TEMPLATE_BODY:
        return template
    return (
        f"# The template is larger than {TEMPLATE_BODY:,} bytes: `aws cloudformation deploy` needs "
        f"--s3-bucket.\n{template}"
    )


def _host_policy(stack: Stack, number: int, document: Document) -> Document:
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "Description": host_description(number),
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
