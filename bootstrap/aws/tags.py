"""Texts in the characters and lengths that STS allows for session names and tags.

docs/aws.md#limits-of-sts
"""

import hashlib
import re
from collections.abc import Callable

from bootstrap.aws.session_tags import MAX_VALUE, accepted, fits

MAX_NAME = 64
DIGEST = 10  # hexadecimal digits, at the end of a text that had to be altered

_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]")


def name(text: str, *, unique: str = "") -> str:
    """Return `text` as a session name or source identity; `unique` is part of a digest."""
    return _fitting(text, MAX_NAME, _in_name, unique=unique)


def tag_value(text: str) -> str:
    """Return `text` in the characters and length STS allows for a tag's value.

    A text that STS accepts stays as it is, and no other becomes the same: a policy on the tag must
    not match an imitation. Only a value that ends with the digest of another text can be imitated,
    by a branch of that very name.
    """
    return text if fits(text, MAX_VALUE) else _fitting(text, MAX_VALUE, accepted)


def altered(text: str) -> str:
    """Return `text` with a dash for each character that no tag has."""
    return "".join(char if accepted(char) else "-" for char in text)


def _fitting(text: str, limit: int, allowed: Callable[[str], bool], *, unique: str = "") -> str:
    """Return `text` if STS accepts it, else as much of it as fits, with a digest of the whole.

    The digest keeps different texts different: a branch `a b` must not pass for a branch `a-b`.
    """
    kept = "".join(char if allowed(char) else "-" for char in text)
    if kept == text and 2 <= len(kept) <= limit:
        return kept
    digest = hashlib.sha256(f"{text}\0{unique}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{kept[: limit - DIGEST - 1]}-{digest[:DIGEST]}"


def _in_name(char: str) -> bool:
    return _NAME.fullmatch(char) is not None
