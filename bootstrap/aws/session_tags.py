"""STS's limits on session tags (docs/aws.md#limits-of-sts)."""

import unicodedata
from collections.abc import Iterator, Mapping

from bootstrap.aws.iam import Tag

MAX_TAGS, MAX_KEY, MAX_VALUE = 50, 128, 256

_PUNCTUATION = frozenset("_.:/=+-@")


def wrong(of_rule: Mapping[str, str]) -> Iterator[str]:
    """Yield what STS does not accept about a rule's tags beside Airlock's own."""
    if not of_rule:
        return
    keys = [one_case(key) for key in (*Tag, *of_rule)]
    if len(set(keys)) != len(keys):
        yield "session tags repeat each other or Airlock's own; case is ignored"
    if len(keys) > MAX_TAGS:
        yield (
            f"got {len(of_rule)} session tags; expected at most {MAX_TAGS - len(Tag)}, because "
            f"Airlock adds {len(Tag)}"
        )
    for key, value in of_rule.items():
        if not (key and fits(key, MAX_KEY)) or key.casefold().startswith("aws:"):
            yield f"STS does not accept the session tag key {key!r}"
        if not fits(value, MAX_VALUE):
            yield f"STS does not accept the value of the session tag {key!r}"


def one_case(key: str) -> str:
    """Return a key as AWS compares it, without case: letters with one capital are one.

    Such is a dotless i.
    """
    return key.upper().casefold().replace("\u0307", "")


def fits(text: str, limit: int) -> bool:
    """Return whether STS accepts the text as a tag's key or value of at most that many."""
    return len(text) <= limit and all(map(accepted, text))


def accepted(char: str) -> bool:
    """Letters, digits and spaces as they were in Unicode 3.2, up to U+FFFF.

    STS's own tables may be older than ours, and may count anything above as two characters.
    """
    category = unicodedata.ucd_3_2_0.category(char)
    return char in _PUNCTUATION or (char <= "\uffff" and category[0] in "LNZ")
