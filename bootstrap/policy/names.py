"""Whether a guardrail's list admits the name of a role, an image or a secret.

A positive pattern admits a name in the spelling of AWS or of Docker. A negation excludes it in
every spelling, and in every case of letters: IAM takes no two roles that differ only in case, and
a policy that names an excluded secret by its ARN has not named another one.
"""

import re
from collections.abc import Iterable, Iterator

from bootstrap.images import full_name, repository_of
from bootstrap.policy.glob import any_matches, excludes

PIPELINE = "{pipeline}"

_SSM_ARN = re.compile(r"arn:aws[a-z-]*:ssm:[^:]*:[0-9]*:parameter/?(?P<name>.*)")
_SECRET_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:[^:]*:[0-9]*:secret:(?P<name>.*)")
_ARNS = {"ssm": _SSM_ARN, "secretsmanager": _SECRET_ARN}
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}\Z")  # what Secrets Manager adds to a name in an ARN


def filled(patterns: Iterable[str], pipeline: str) -> tuple[str, ...]:
    """Return the patterns with the pipeline's slug, which has neither `*` nor `!`."""
    return tuple(pattern.replace(PIPELINE, pipeline) for pattern in patterns)


def roles_admit(patterns: Iterable[str], role: str) -> bool:
    """Return whether the list admits a role's ARN."""
    return any_matches(patterns, (role,))


def images_admit(patterns: Iterable[str], image: str) -> bool:
    """Return whether the list admits an image. A negation without a tag excludes every tag."""
    name = full_name(image)
    bare, tagged = repository_of(name), name.partition("@")[0]
    also = (bare, tagged, f"{name}:latest" if name == bare else name)
    return any_matches([_image_pattern(pattern) for pattern in patterns], (name,), also=also)


def _image_pattern(pattern: str) -> str:
    """Return the pattern with its registry completed, unless a `*` may stand for one."""
    mark, text = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    first, slash, _ = text.partition("/")
    if text.startswith("*") or (slash and "*" in first):
        return pattern
    return f"{mark}{full_name(text)}"


def secrets_admit(patterns: Iterable[str], reference: str) -> bool:
    """Return whether the list admits a reference.

    A pattern of a secret is also one of its members (`#key`). A negation of one member excludes
    the whole secret, which contains it.
    """
    listed = tuple(patterns)
    whole, mark, _ = reference.partition("#")
    if not mark:
        parts = (p.partition("#")[0] for p in listed if p.startswith("!") and "#" in p)
        listed = (*listed, *parts)
    return any_matches(listed, (reference, whole), also=tuple(_spelled(whole)))


def roles_name(patterns: Iterable[str], role: str) -> bool:
    """Return whether a requirement for these roles is one for this role; in doubt it is."""
    return _names(patterns, (role,), (role,))


def secrets_name(patterns: Iterable[str], reference: str) -> bool:
    """Return whether a requirement for these secrets is one for this reference; in doubt it is."""
    whole, mark, _ = reference.partition("#")
    listed = tuple(patterns)
    if not mark:
        listed = (*listed, *(p.partition("#")[0] for p in listed if not p.startswith("!")))
    return _names(listed, (reference,), (reference, whole, *_spelled(whole)))


def role_is_asked(wanted: str, role: str) -> bool:
    """Return whether a question about `wanted`, a name or a glob, is also one about this role."""
    return excludes((wanted,), (role,))


def image_is_asked(wanted: str, image: str) -> bool:
    """Return whether the question is also one about this image: without a tag, it is of all."""
    return bool(wanted) and not images_admit(("*", f"!{wanted}"), image)


def secret_is_asked(wanted: str, reference: str) -> bool:
    """Return whether the question is also one about this reference.

    A question about a secret, by name or ARN, is about its members and versions, and one about a
    member is about the whole secret, which contains it.
    """
    service = next((f"{kind}:" for kind, arn in _ARNS.items() if arn.fullmatch(wanted)), "")
    name, mark, member = f"{service}{wanted}".partition("#")
    names = (name, *_spelled(name)) if ":" in name else (name,)
    whole, has_member, own = reference.partition("#")
    of_member = mark and has_member and not excludes((member,), (own,))
    return not of_member and excludes(names, (whole, *_spelled(whole)))


def _names(patterns: Iterable[str], exact: tuple[str, ...], spellings: tuple[str, ...]) -> bool:
    """Here a pattern restricts, so it is read widely, and a `!`, which exempts, narrowly."""
    listed = tuple(patterns)
    exempt = [pattern.removeprefix("!") for pattern in listed if pattern.startswith("!")]
    wanted = [pattern for pattern in listed if not pattern.startswith("!")] or ["*"]
    return excludes(wanted, spellings) and not (exempt and any_matches(exempt, exact))


def _spelled(reference: str) -> Iterator[str]:
    """Yield the names by which the same secret, or an older version of it, could be meant."""
    kind, _, name = reference.partition(":")
    arn = (_SSM_ARN if kind == "ssm" else _SECRET_ARN).fullmatch(name)
    bare = arn["name"] if arn else name
    bases = {bare, bare.partition(":")[0]} if kind == "ssm" else {bare, _SUFFIX.sub("", bare)}
    for base in bases:
        plain = base.lstrip("/")
        yield f"{kind}:{plain}"
        yield f"{kind}:/{plain}"
