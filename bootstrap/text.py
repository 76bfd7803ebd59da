"""Job-controlled text, made safe to print."""

import unicodedata

# Cc: control (newline, escape), Cf: format (bidi overrides, zero width), Cs: lone surrogates,
# Zl/Zp: line and paragraph separators.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str, *, limit: int = 200) -> str:
    """Return `text` on one line of at most `limit` characters that no terminal acts upon."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join("�" if unicodedata.category(char) in _HIDDEN else char for char in shown)
