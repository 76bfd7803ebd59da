"""What a role needs to assume others, to read secrets and to pull images."""

import re
from collections.abc import Iterable, Iterator, Sequence

from bootstrap.aws.iam import (
    ASSUME_ROLE,
    DECRYPT,
    LOGIN,
    PULL,
    READ_PARAMETERS,
    READ_SECRET,
    SESSION,
    SET_SOURCE_IDENTITY,
    TAG_SESSION,
    Statement,
    Tag,
    allow,
)
from bootstrap.images import ecr_arn
from bootstrap.policy.glob import matches
from bootstrap.policy.iam.model import account_of, partition_of
from bootstrap.policy.iam.quotas import Need
from bootstrap.policy.iam.trust import PIPELINES_PATH, owner_of

_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}\Z")  # of the ARN of a secret
_SERVICES = {
    "ssm": ("AirlockParameters", READ_PARAMETERS),
    "secretsmanager": ("AirlockSecrets", READ_SECRET),
}
# How each service names the secret when it asks KMS to decrypt it.
_ENCRYPTION_CONTEXT = {
    "ssm": ("AirlockParameterKeys", "PARAMETER_ARN"),
    "secretsmanager": ("AirlockSecretKeys", "SecretARN"),
}


def sessions(roles: Iterable[str]) -> Iterator[Need]:
    """Yield what a role needs to assume these, by name."""
    if listed := sorted(set(roles)):
        yield _need("AirlockSessions", SESSION, listed)


def sessions_by_tag(roles: Iterable[str]) -> Iterator[Need]:
    """Yield the same where the path of a pipeline's own role has to have the session's pipeline.

    The tag is part of the request for AssumeRole and TagSession alone, so SetSourceIdentity, which
    gives nothing without AssumeRole, names the path without it.
    """
    listed = sorted(set(roles))
    yield from sessions(role for role in listed if owner_of(role) is None)
    own = [role for role in listed if owner_of(role)]
    if own:
        variable = f"${{aws:RequestTag/{Tag.PIPELINE}}}"
        tagged = sorted({_below_pipelines(role, variable) for role in own})
        any_pipeline = sorted({_below_pipelines(role, "*") for role in own})
        yield _need("AirlockOwnRoles", [ASSUME_ROLE, TAG_SESSION], tagged)
        yield _need("AirlockOwnRolesIdentity", [SET_SOURCE_IDENTITY], any_pipeline)


def _below_pipelines(role: str, name: str) -> str:
    """Return the pattern of all roles below `pipelines/<name>/` that are beside this one."""
    found = PIPELINES_PATH.search(role)
    return f"{role[: found.start(1)]}{name}/*" if found else role


def secrets(
    references: Iterable[str], *, partition: str, account: str, keys: Sequence[str]
) -> Iterator[Need]:
    """Yield what reading these secrets needs, in any region, with the keys that encrypt them.

    A name without an account is of the reader's own. Without `keys`, any key is allowed that the
    service uses for one of these secrets.
    """
    listed = set(references)
    of_keys = keys or [f"arn:{partition}:kms:*:*:key/*"]
    for service, (sid, action) in _SERVICES.items():
        names = {r.split(":", 1)[1].split("#")[0] for r in listed if r.startswith(f"{service}:")}
        arns = _uncovered({_arn(service, name, partition, account) for name in names})
        if arns:
            yield _need(sid, [action], arns)
            yield _decrypting(service, arns, of_keys, partition)


def _decrypting(
    service: str, arns: list[str], keys: Sequence[str], partition: str, *, sid: str = ""
) -> Need:
    own, context = _ENCRYPTION_CONTEXT[service]
    domain = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"

    def made(names: list[str]) -> Statement:
        condition = {"StringLike": {
            "kms:ViaService": f"{service}.*.{domain}", f"kms:EncryptionContext:{context}": names,
        }}  # fmt: skip
        return {"Sid": sid or own, **allow([DECRYPT], list(keys)), "Condition": condition}

    return Need(names=arns, made=made)


def pulls(images: Iterable[str], *, partition: str, login: bool) -> Iterator[Need]:
    """Yield what pulling these images from ECR needs; `login` even if none is there."""
    found = {ecr_arn(image, partition) for image in images}
    repositories = _uncovered({arn for arn in found if arn})
    if repositories or login:
        yield _need("AirlockRegistries", [LOGIN], ["*"])
    if repositories:
        yield _need("AirlockImages", PULL, repositories)


def documents(
    sid: str, statement: Statement, *, keys: Sequence[str], partition: str
) -> Iterator[Need]:
    """Yield what reading policies or guardrails needs; they are encrypted if `keys` are named."""
    resources = statement["Resource"]
    listed = [resources] if isinstance(resources, str) else resources
    yield _need(sid, statement["Action"], listed)
    if keys:
        yield _decrypting("ssm", listed, keys, partition, sid=f"{sid}Keys")


def _need(sid: str, actions: Sequence[str], resources: Sequence[str]) -> Need:
    return Need(names=resources, made=lambda names: {"Sid": sid, **allow(list(actions), names)})


def _arn(service: str, name: str, partition: str, account: str) -> str:
    """Return the ARN by which IAM knows the secret: a parameter's has no version or label.

    Secrets Manager ends the ARN of a name with six characters of its own.
    """
    if service == "ssm":
        if name.startswith("arn:"):
            return ":".join(name.split(":")[:6])
        path = name.partition(":")[0].removeprefix("/")
        return f"arn:{partition}:ssm:*:{account}:parameter/{path}"
    arn = (
        name if name.startswith("arn:") else f"arn:{partition}:{service}:*:{account}:secret:{name}"
    )
    is_whole = arn is name and (_SUFFIX.search(name) or name.endswith("*"))
    return arn if is_whole else f"{arn}-??????"


def _uncovered(arns: Iterable[str]) -> list[str]:
    """Return them without those that a pattern among them matches by its resource."""
    listed = set(arns)
    patterns = [arn for arn in listed if "*" in arn.split(":", 5)[5]]
    return sorted(a for a in listed if not any(p != a and matches(p, a) for p in patterns))


def of_account(role: str) -> dict[str, str]:
    """Return partition and account of a role, as `secrets` takes them."""
    return {"partition": partition_of(role), "account": account_of(role)}
