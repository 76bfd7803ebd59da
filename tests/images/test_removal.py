"""What provisioning binds to each other, docs/operations.md takes apart in an order that works."""

import re

from tests.images.scripts import AMI
from tests.test_docs import commands_below

COMMANDS = commands_below("operations.md", "Removal from a machine image's host")


def expanded(line: str) -> list[str]:
    """Return the words of a line, as bash expands the one pair of braces in each."""
    words: list[str] = []
    for word in line.split():
        before, inside, after = re.split(r"[{}]", word) if "{" in word else (word, "", "")
        words += [before + each + after for each in inside.split(",")]
    return words


def test_every_unit_and_drop_in_of_ours_is_removed() -> None:
    units = AMI / "units"
    # The agent's own unit stays: it is there where no package of the agent's is.
    ours = {path.relative_to(units) for path in units.rglob("*") if path.is_file()}
    ours -= {(units / "buildkite-agent.service").relative_to(units)}
    removed = {word for line in COMMANDS if line.startswith("rm ") for word in expanded(line)}
    assert {f"/etc/systemd/system/{path}" for path in ours} <= removed


def test_docker_is_bound_to_nothing_any_more_when_the_firewall_stops() -> None:
    order = "\n".join(COMMANDS)
    drop_ins, reload, stop = (
        order.index(part)
        for part in ("service.d/airlock.conf", "daemon-reload", "disable --now airlock-firewall")
    )
    assert drop_ins < reload < stop
