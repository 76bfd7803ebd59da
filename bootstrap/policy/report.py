"""The access map: every pipeline and what it can use, as one page that works offline.

Whatever people wrote reaches the page as compressed data only, and its script displays it as text.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from bootstrap.policy.access_map import data
from bootstrap.policy.catalogue import Catalogue


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The page's own three files: access_map.html, .css and .js."""

    html: str
    css: str
    js: str


def page(
    parts: Parts, catalogue: Catalogue, *, source: str, made: str, names: Mapping[str, str]
) -> str:
    """Return the whole page.

    `source` is where the policies were read, `made` is when; `names` are accounts' names by id.
    """
    shown = data(catalogue, source=source, made=made, names=names)
    packed = json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Template(parts.html).substitute(
        css=parts.css,
        js=parts.js,
        policy=_content_policy(parts),
        data=base64.b64encode(gzip.compress(packed, mtime=0)).decode(),
    )


def _content_policy(parts: Parts) -> str:
    """Return a policy by which the browser loads nothing, and runs this script and no other."""
    return (
        f"default-src 'none'; style-src '{_hash(parts.css)}'; script-src '{_hash(parts.js)}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


def _hash(text: str) -> str:
    """Return the source expression of an inline element (CSP level 3, section 2.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
