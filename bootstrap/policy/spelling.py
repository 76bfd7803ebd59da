"""Names that are the same to whoever reads them, git or a person, in one form for exclusions.

A pattern that admits compares names as they are: another spelling is another name, and is not
admitted. A negation compares both sides in the forms below, so that no spelling of an excluded
name gets past it. It then excludes a few names more than it has to, never fewer.
"""

import re

# Unicode's Default_Ignorable_Code_Point beside category Cf: characters that nobody sees.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_ROUNDS = 8  # each round of NFKC and case folding can make a character that the other changes

_REF_PREFIX = re.compile(r"(?:refs/)?(?:heads|tags|remotes/[^/]*)/")
# What `git check-ref-format` refuses, and what `git fetch` reads as another ref or as an option.
_NO_REF_NAME = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(?:\A|/)\.|\.lock(?:/|\Z)|[./]\Z|\A[/+-]|\Arefs/"
    r"|\A(?:HEAD|@)\Z"
)

_OWNER = re.compile(r"\A[A-Za-z0-9._-]+:")

_HEX = re.compile(r"[0-9a-fA-F]+")
_FULL_COMMIT = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")


def folded(text: str) -> str:
    """Return `text` without case, invisible characters and differences of Unicode form."""
    if text.isascii():
        return text.lower()
    from unicodedata import category, normalize  # noqa: PLC0415 - few names need this library

    for _ in range(_ROUNDS):
        visible = "".join(c for c in _INVISIBLE.sub("", text) if category(c) != "Cf")
        before, text = text, normalize("NFKC", visible.casefold())
        if text == before:
            break
    return text


def folded_ref(text: str) -> str:
    """Return the name of a branch or tag as `folded`, without what git adds to it or ignores."""
    return _REF_PREFIX.sub("", folded(text).strip("/"), count=1)


def is_ref_name(text: str) -> bool:
    """Return whether git reads `text` as a branch or tag of exactly this name.

    It reads `refs/heads/main` and `+main` as main, `HEAD` as whatever is the default, and has no
    branch with a name such as `a..b`.
    """
    return bool(text) and not _NO_REF_NAME.search(text)


def without_owner(text: str) -> str:
    """Return the branch in `owner:branch`, as Buildkite calls the branches of forks."""
    return _OWNER.sub("", text, count=1)


def is_full_commit(text: str) -> bool:
    """Return whether `text` is a whole object name: not HEAD, and nothing shortened."""
    return _FULL_COMMIT.fullmatch(text) is not None


def commit(text: str) -> str:
    """Return a commit, or a pattern of one, as git prints it: digits have no case."""
    return text.lower() if _HEX.fullmatch(text.replace("*", "0")) else text
