"""What `airlock doctor` may find on the host of the rehearsal: nothing that is not listed here."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A warning that the rehearsal cannot avoid: why, and what doctor sees then and no more."""

    why: str
    seen: str  # a regular expression


_ENDPOINT = r"aws\.(sts|ssm|secretsmanager)-endpoint is not https: [^;]*"
_OLD = (
    r"[0-9][^ ]* \(a distribution's, which may have a fix that its change log does not name\) has "
)
KNOWN = {
    "settings": Known(
        why="the rehearsal's STS, SSM and Secrets Manager have no certificates",
        seen=rf"{_ENDPOINT}; {_ENDPOINT}; {_ENDPOINT}",
    ),
    "runc-cves": Known(
        why="the runc of Debian 12 lacks these fixes", seen=rf"{_OLD}CVE-\d+-\d+(, CVE-\d+-\d+)*"
    ),
}


def judged(plain: Sequence[str], machine_readable: Sequence[str]) -> list[str]:
    """Return the lines to print about both of doctor's outputs, each with its exit status last.

    Raises AssertionError, with all of doctor's text, unless every check is ok or a known warning.
    """
    *lines, status = plain
    *document, json_status = machine_readable
    text = "\n".join(lines)
    assert (status, json_status) == ("status 0", "status 0"), text
    found = json.loads("\n".join(document))
    others = {one["check"]: one for one in found["findings"] if one["status"] != "ok"}
    wrong = [name for name, one in others.items() if not _is_known(name, one)]
    assert not wrong, f"not ok, and not known to be so: {', '.join(wrong)}\n{text}"
    assert len(found["findings"]) == sum(found["counts"].values()) > len(others)
    assert lines[-1].startswith(f"{len(found['findings'])} checks: {found['counts']['ok']} ok")
    return [lines[-1], *(f"warn {name}: {KNOWN[name].why}" for name in others)]


def _is_known(name: str, finding: dict[str, str]) -> bool:
    known = KNOWN.get(name)
    return (
        known is not None
        and finding["status"] == "warn"
        and re.fullmatch(known.seen, finding["seen"]) is not None
    )
