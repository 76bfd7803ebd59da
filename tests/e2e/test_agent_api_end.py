"""A job cannot delay its own end, or change how it ends, by what it asks of its gateway."""

import threading
import time
from collections.abc import Iterator

import pytest

from tests.fakes.simulator import Call, Reply
from tests.lab.lab import Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

HUNG = 40.0  # seconds in which Buildkite does not answer a call
# Calls that hang at Buildkite, halves of bodies, and answers that nobody reads, from processes that
# outlive the command.
FLOOD = """
import os, socket, time
port = int(os.environ["BUILDKITE_AGENT_ENDPOINT"].rpartition(":")[2])
job, token = os.environ["BUILDKITE_JOB_ID"], os.environ["BUILDKITE_AGENT_ACCESS_TOKEN"]
def head(verb, length):
    return (f"POST /jobs/{job}/data/{verb} HTTP/1.1\\r\\nHost: a\\r\\nAuthorization: Token {token}"
            f"\\r\\nContent-Length: {length}\\r\\n\\r\\n").encode()
held, made = [], 0
while True:
    for verb, length, body in (("keys", 0, b""), ("set", 900000, b"x" * 99999), ("get", 9, b"")):
        try:
            client = socket.create_connection(("127.0.0.1", port), 5)
            client.sendall(head(verb, length) + body)
            held.append(client)
            made += 1
        except OSError:
            time.sleep(0.1)
    held = held[-300:]
    if made == 300:
        open("/tmp/flooding", "w").close()
"""


def flood(end: str) -> str:
    """Return a command that floods the gateway, and then ends in this way."""
    return (
        f"cat > /tmp/flood.py <<'EOF'\n{FLOOD}\nEOF\n"
        "for n in 1 2 3; do setsid python3 /tmp/flood.py > /dev/null 2>&1 & done\n"
        f"while [ ! -e /tmp/flooding ]; do sleep 0.1; done; echo flooded; {end}\n"
    )


@pytest.fixture
def hanging(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet whose Buildkite does not answer `meta-data keys`."""
    fleet.policy("  - {name: all, allow: {agent-api: {calls: meta-data}}}\n")
    handle, released = fleet.control.handle, threading.Event()

    def slowly(call: Call) -> Reply:
        if call.path.endswith("/data/keys"):
            released.wait(HUNG)
        return handle(call)

    monkeypatch.setattr(fleet.control, "handle", slowly)
    yield fleet
    released.set()


def test_job_that_floods_its_gateway_ends_with_its_own_status_in_time(hanging: Fleet) -> None:
    with hanging.agent():
        job = hanging.control.enqueue(hanging.env(flood("exit 7")))
        hanging.control.wait(job, lambda j: b"\nflooded" in j.log)
        began = time.monotonic()
        assert hanging.control.finished(job) == ("7", "", ""), job.log.decode()
        assert time.monotonic() - began < HUNG / 2
    assert leftovers(hanging) == []


def test_job_that_floods_its_gateway_is_cancelled_in_time(hanging: Fleet) -> None:
    with hanging.agent("--cancel-grace-period", "10"):
        job = hanging.control.enqueue(hanging.env(flood("sleep 600")))
        hanging.control.wait(job, lambda j: b"\nflooded" in j.log)
        began = time.monotonic()
        hanging.control.cancel(job)
        result = hanging.control.finished(job)
        assert result[0] == "-1", job.log.decode()
        assert result[2] == "cancel"
        assert time.monotonic() - began < 15
    assert leftovers(hanging) == []
