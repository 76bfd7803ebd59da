"""Whether a guardrail's list admits the name of a role, an image or a secret.

A positive pattern admits a name in the spelling of AWS or of Docker. A negation excludes it in
every spelling, and in every case of letters: IAM takes no two roles that differ only in case, and
a policy that names an excluded secret by its ARN has not named another one.
"""

import re
from collections.abc import Iterable, Iterator

from bootstrap.aws.session_tags import one_case
from bootstrap.images import full_name, repository_of
from bootstrap.policy.glob import any_matches, excludes, matches
from bootstrap.policy.spelling import folded

PIPELINE = "{pipeline}"

_SSM_ARN = re.compile(r"arn:aws[a-z-]*:ssm:[^:]*:[0-9]*:parameter/?(?P<name>.*)", re.IGNORECASE)
_SECRET_ARN = re.compile(
    r"arn:aws[a-z-]*:secretsmanager:[^:]*:[0-9]*:secret:(?P<name>.*)", re.IGNORECASE
)
# In a pattern, any part of an ARN may be a `*`.
_IN_ARN = re.compile(
    r".*(?:arn:|\*).*:(?:parameter/?(?P<parameter>.*)|secret:(?P<secret>.*))", re.IGNORECASE
)
_ARNS = {"ssm": _SSM_ARN, "secretsmanager": _SECRET_ARN}
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}\Z")  # what Secrets Manager adds to a name in an ARN
_PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e",
               "aws-iso-f")  # fmt: skip


def filled(patterns: Iterable[str], pipeline: str) -> tuple[str, ...]:
    """Return the patterns with the pipeline's slug, which has neither `*` nor `!`."""
    return tuple(pattern.replace(PIPELINE, pipeline) for pattern in patterns)


def roles_admit(patterns: Iterable[str], role: str) -> bool:
    """Return whether the list admits a role's ARN."""
    return any_matches(patterns, (role,), also=_in_every_partition(role))


def _in_every_partition(role: str) -> tuple[str, ...]:
    """Return the ARN in all of AWS's partitions: an account is in one, whatever an ARN says."""
    rest = role.split(":", 2)[-1]
    return tuple(f"arn:{partition}:{rest}" for partition in _PARTITIONS)


def audiences_admit(patterns: Iterable[str], audience: str) -> bool:
    """Return whether the list admits the audience of a token."""
    return any_matches(patterns, (audience,))


def images_admit(patterns: Iterable[str], image: str) -> bool:
    """Return whether the list admits an image. A negation without a tag excludes every tag."""
    name = full_name(image)
    bare, tagged = repository_of(name), name.partition("@")[0]
    also = (image, bare, tagged, f"{name}:latest" if name == bare else name)
    listed = [form for pattern in patterns for form in _image_patterns(pattern)]
    return any_matches(listed, (name,), also=also)


def _image_patterns(pattern: str) -> tuple[str, ...]:
    """Return the pattern with its registry completed, unless a `*` may stand for one.

    A negation stays as it is, too: `!registry.example.com*` may be about an image or a registry.
    """
    negates = pattern.startswith("!")
    text = pattern.removeprefix("!")
    first, slash, _ = text.partition("/")
    if text.startswith("*") or (slash and "*" in first):
        return (pattern,)
    return (f"!{full_name(text)}", pattern) if negates else (full_name(text),)


def secrets_admit(patterns: Iterable[str], reference: str) -> bool:
    """Return whether the list admits a reference.

    A pattern of a secret is also one of its members (`#key`). A negation of one member excludes
    the whole secret, which contains it.
    """
    listed = tuple(patterns)
    whole, mark, _ = reference.partition("#")
    negative = [pattern.removeprefix("!") for pattern in listed if pattern.startswith("!")]
    if not mark:
        negative += [pattern.partition("#")[0] for pattern in negative if "#" in pattern]
    if not listed or excludes(_widened(negative), (reference, whole, *_spelled(reference))):
        return False
    positive = [pattern for pattern in listed if not pattern.startswith("!")]
    return not positive or any(_includes(pattern, reference) for pattern in positive)


def _includes(pattern: str, reference: str) -> bool:
    """Compare the secret and its member apart: no member's name makes it another secret."""
    (named, of, key), (whole, mark, member) = pattern.partition("#"), reference.partition("#")
    return matches(named, whole) and (not of or (bool(mark) and matches(key, member)))


def session_tags_admit(patterns: Iterable[str], tag: str) -> bool:
    """Return whether the list admits a rule's session tag, as key=value."""
    return any_matches(patterns, (tag,), fold=lambda text: folded(one_case(text)))


def roles_name(patterns: Iterable[str], role: str) -> bool:
    """Return whether a requirement for these roles is one for this role; in doubt it is."""
    wanted, exempt = _parted(patterns)
    named = excludes(wanted, (role, *_in_every_partition(role)))
    return named and not any(matches(pattern, role) for pattern in exempt)


def secrets_name(patterns: Iterable[str], reference: str) -> bool:
    """Return whether a requirement for these secrets is one for this reference; in doubt it is."""
    whole, mark, _ = reference.partition("#")
    wanted, exempt = _parted(patterns)
    wide = _widened(wanted)
    wholes = () if mark else tuple(pattern.partition("#")[0] for pattern in wide)
    named = excludes((*wide, *wholes), (reference, whole, *_spelled(reference)))
    return named and not any(_includes(pattern, reference) for pattern in exempt)


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


def _parted(patterns: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return what is wanted, which restricts and is read widely, and what `!` exempts, narrowly."""
    listed = tuple(patterns)
    exempt = [pattern.removeprefix("!") for pattern in listed if pattern.startswith("!")]
    return [pattern for pattern in listed if not pattern.startswith("!")] or ["*"], exempt


def _widened(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns, and beside those of ARNs the names in these."""
    listed = tuple(patterns)
    return (*listed, *(name for pattern in listed for name in _named_in(pattern)))


def _named_in(pattern: str) -> Iterator[str]:
    whole, mark, member = pattern.partition("#")
    if found := _IN_ARN.fullmatch(whole):
        if found["parameter"] is not None:
            yield f"ssm:/{found['parameter']}{mark}{member}"
        else:
            name = found["secret"]
            for bare in {name, _SUFFIX.sub("", name), name.removesuffix("-*")}:
                yield f"secretsmanager:{bare}{mark}{member}"


def _spelled(reference: str) -> Iterator[str]:
    """Yield the names by which the same secret, or an older version of it, could be meant.

    Each also with the reference's member, if it has one.
    """
    whole, mark, member = reference.partition("#")
    kind, _, name = whole.partition(":")
    arn = (_SSM_ARN if kind == "ssm" else _SECRET_ARN).fullmatch(name)
    bare = arn["name"] if arn else name
    bases = {bare, bare.partition(":")[0]} if kind == "ssm" else {bare, _SUFFIX.sub("", bare)}
    for base in bases:
        plain = base.lstrip("/")
        for spelled in (f"{kind}:{plain}", f"{kind}:/{plain}"):
            yield from (spelled, f"{spelled}{mark}{member}") if mark else (spelled,)
