"""Text from outside, made safe to print and to store: nearly all of it comes from the job."""

import re
import unicodedata

# Cc: control (newline, escape), Cf: format (bidi overrides, zero width), Cs: lone surrogates,
# Zl/Zp: line and paragraph separators.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}

MASK = "***"
# RFC 3986: userinfo ends at the last @ before the path; `\/` is how some JSON spells a slash.
_USERINFO = re.compile(r"((?:\\?/){2})((?:[^\s/?#\\]|\\(?!/))+)@")
# `user:password@host:path` and `user:password@host/path`, but not an image's `name:tag@sha256:…`.
_PASSWORD = re.compile(r"(?<![\w.+/@:-])([\w.+-]+):[^\s/@:]+@(?=[\w.-]+[:/])(?!sha\d+:)")
_SSH = ("ssh:", "ssh+git:")  # whose user is a name, not a credential


def printable(text: str, *, limit: int = 200) -> str:
    """Return `text` on one line of at most `limit` characters, none of them a terminal's control.

    Credentials in URLs are masked, before anything is cut off.
    """
    if not text.isprintable():
        text = _replaced(text)
    shown = without_credentials(text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def on_terminal(text: str) -> str:
    """Return `text` without what a terminal would interpret; line ends stay."""
    return "\n".join(line if line.isprintable() else _replaced(line) for line in text.split("\n"))


def _replaced(text: str) -> str:
    return "".join("�" if unicodedata.category(char) in _HIDDEN else char for char in text)


def without_credentials(text: str) -> str:
    """Mask what URLs in `text` have before their host, but for the plain user of an ssh URL."""
    if "@" not in text:
        return text
    return _PASSWORD.sub(rf"\1:{MASK}@", _USERINFO.sub(_userinfo, text))


def _userinfo(match: re.Match[str]) -> str:
    slashes, userinfo = match.groups()
    user, colon, _ = userinfo.partition(":")
    scheme = match.string[max(0, match.start() - 10) : match.start()].lower()
    if scheme.endswith(_SSH):
        return f"{slashes}{user}{colon}{MASK if colon else ''}@"
    return f"{slashes}{MASK}@"


def counted(number: int, one: str, many: str = "") -> str:
    """Return "1 policy" or "2 policies"; without `many` the plural is `one` with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"
