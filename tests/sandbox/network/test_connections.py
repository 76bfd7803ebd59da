"""The end of a job's log names the limit of connections that it has hit."""

import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.network import connections, firewall
from bootstrap.sandbox.network.connections import Refusals
from tests.sandbox.network.namespace import in_a_new_namespace, run

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")


def test_nothing_hit_says_nothing() -> None:
    assert not list(connections.lines(Refusals(refused=8)))


@pytest.mark.parametrize(
    ("used", "part"),
    [
        (Refusals(refused=7, over_open=7), "4096 connections open, which is a sandbox's limit: 7"),
        (Refusals(refused=1, over_opened=1), "400 TCP connections in a second"),
        (Refusals(refused=9, over_asked=9), "400 DNS queries in a second"),
    ],
)
def test_each_limit_has_its_sentence(used: Refusals, part: str) -> None:
    (line,) = connections.lines(used)
    assert part in line
    assert "refused. Have it" in line


def test_the_sentences_name_the_rulesets_own_numbers() -> None:
    text = firewall.ruleset_text()
    assert "ct count over 4096 } jump too_many_open\n" in text
    assert text.count("limit rate over 400/second burst 2000 packets") == 2


@given(*(st.integers(0, 1000) for _ in range(4)))
def test_an_earlier_holders_packets_do_not_count(a: int, b: int, before: int, open_: int) -> None:
    old = Refusals(refused=before, over_open=min(open_, before))
    new = Refusals(refused=before + a, over_open=old.over_open + b)
    assert new.since(old) == Refusals(refused=a, over_open=b)
    assert Refusals(refused=a).since(Refusals(refused=a + 1)) == Refusals(refused=a)


# Counts what the loopback's address sends to port 9 as beyond a limit.
COUNTING = """
add chain inet airlock test {{ type filter hook input priority 0; }}
add rule inet airlock test udp dport 9 update @{name} {{ ip saddr counter }}
add rule inet airlock test udp dport 9 jump refuse
"""


@needs_root
@pytest.mark.parametrize("limit", ["over_open", "over_opened", "over_asked"])
def test_a_limit_that_is_hit_is_counted_and_reported(tmp_path: Path, limit: str) -> None:
    records = tmp_path / "records.jsonl"
    written: list[bytes] = []

    def sent() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel, suppress(OSError):
            channel.sendto(b"x", ("127.0.0.1", 9))

    def work() -> None:
        run("nft -f -", firewall.ruleset_text() + COUNTING.format(name=limit))
        sent()
        with connections.reported("127.0.0.1", JobLog(written.append), Record(records, "now")):
            sent()
            sent()
            run("nft add element inet airlock refused { 127.0.0.2 }")

    in_a_new_namespace(work)
    (event,) = [json.loads(line) for line in records.read_text().splitlines()]
    assert {key: event[key] for key in asdict(Refusals())} == {**asdict(Refusals()), limit: 2,
                                                               "refused": 2}  # fmt: skip
    assert b"2 packets" in b"".join(written)


@needs_root
def test_a_job_that_is_refused_nothing_has_no_event(tmp_path: Path) -> None:
    written: list[bytes] = []
    record = Record(tmp_path / "records.jsonl", "now")

    def work() -> None:
        run("nft -f -", firewall.ruleset_text())
        with connections.reported("127.0.0.1", JobLog(written.append), record):
            pass

    in_a_new_namespace(work)
    assert not written
    assert (tmp_path / "records.jsonl").read_text() == ""
