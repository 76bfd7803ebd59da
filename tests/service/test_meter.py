"""The meter: what it reads, looks at and writes; the file is whole at any moment."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bootstrap.host.config import Host, parse
from bootstrap.metrics import catalogue, report
from bootstrap.metrics.events import Sample
from bootstrap.service import meter
from bootstrap.service.journal import Journal
from tests.lab.engine import eventually

START = meter.Started(at=1000.0, count=3)


def host_in(base: Path) -> Host:
    paths = {name: str(base / name) for name in ("runtime", "state")}
    for path in paths.values():
        Path(path).mkdir()
    storage = {"min-free": "2GiB", "floor": "1GiB"}
    text = {"sandbox": {"image": "any"}, "paths": paths, "storage": storage}
    return parse(text, base / "airlock.toml")


def values(path: Path) -> dict[str, float]:
    """Every line of the file, by its name and labels, as Prometheus's parser reads them."""
    found = {}
    for family in text_string_to_metric_families(path.read_text()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_in(tmp_path)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def made(host: Host, tmp_path: Path, lines: list[str]) -> meter.Meter:
    journal = Journal(lambda line: lines.append(line.decode()))
    return meter.Meter(host, tmp_path / "airlock.prom", START, journal)


def test_file_has_reports_gauges_and_starts_and_everybody_can_read_it(
    host: Host, made: meter.Meter, tmp_path: Path
) -> None:
    line = report.encoded([Sample(catalogue.JOBS, {"outcome": "passed"}, 2)])
    made.received(line + line[:10])
    made.received(line[10:])
    (host.paths.runtime / "policies").mkdir()
    os.utime(host.paths.runtime / "policies", (1, 1))
    (host.paths.runtime / "policies" / "a1").write_text("{}")
    os.utime(host.paths.runtime / "policies" / "a1", (2000, 2000))
    (host.paths.runtime / "collected").touch()
    os.utime(host.paths.runtime / "collected", (2100, 2100))
    made.write(2500.0)
    found = values(tmp_path / "airlock.prom")
    assert found["airlock_jobs_total{outcome=passed}"] == 4
    assert found["airlock_slots{state=configured}"] == host.sandbox.slots
    assert found["airlock_running_jobs{}"] == 0
    assert found["airlock_disk_bytes{what=min_free}"] == 2 << 30
    assert found["airlock_disk_bytes{what=free}"] > 0
    assert found["airlock_service_starts_total{}"] == 3
    assert found["airlock_service_start_timestamp_seconds{}"] == 1000
    assert found["airlock_metrics_timestamp_seconds{}"] == 2500
    assert found["airlock_cached_policy_age_seconds{which=oldest}"] == 500
    assert found["airlock_gc_last_success_timestamp_seconds{}"] == 2100
    assert (tmp_path / "airlock.prom").stat().st_mode & 0o7777 == 0o644
    assert [path.name for path in tmp_path.glob("*.prom*")] == ["airlock.prom"]


def test_dead_leases_are_not_running_jobs(host: Host, made: meter.Meter, tmp_path: Path) -> None:
    (host.paths.runtime / "jobs" / "j-1").mkdir(parents=True)
    made.write(1.0)
    found = values(tmp_path / "airlock.prom")
    assert (found["airlock_running_jobs{}"], found["airlock_dead_jobs{}"]) == (0, 1)
    assert found["airlock_slots{state=taken}"] == 1


def test_what_cannot_be_measured_is_printed_once_and_keeps_nothing_else_from_the_file(
    host: Host, made: meter.Meter, tmp_path: Path, lines: list[str]
) -> None:
    host.paths.state.rmdir()
    made.write(1.0)
    made.write(2.0)
    assert [line for line in lines if "disks" in line] == lines[:1]
    assert values(tmp_path / "airlock.prom")["airlock_metrics_timestamp_seconds{}"] == 2


def test_file_that_cannot_be_written_is_tried_again(
    host: Host, tmp_path: Path, lines: list[str]
) -> None:
    target = tmp_path / "textfiles" / "airlock.prom"
    journal = Journal(lambda line: lines.append(line.decode()))
    made = meter.Meter(host, target, START, journal)
    made.write(1.0)
    made.write(2.0)
    assert [line for line in lines if "could not be written" in line] == lines
    assert len(lines) == 1
    assert lines[0].endswith(f"No such file or directory: '{target}'\n")
    target.parent.mkdir()
    made.write(3.0)
    assert values(target)["airlock_metrics_timestamp_seconds{}"] == 3


def test_bytes_without_an_end_are_not_kept(made: meter.Meter, tmp_path: Path) -> None:
    for _ in range(40):
        made.received(b"x" * (1 << 16))
    made.received(b"\n")
    made.write(1.0)
    assert values(tmp_path / "airlock.prom")["airlock_reports_lost_total{}"] == 1


def test_starts_are_counted_until_the_machine_starts_again(tmp_path: Path) -> None:
    assert meter.started(tmp_path, 5.0) == meter.Started(at=5.0, count=1)
    assert meter.started(tmp_path, 6.0).count == 2
    (tmp_path / "service-starts").write_text("")  # as after a full tmpfs
    assert meter.started(tmp_path, 7.0).count == 1


@contextmanager
def running(host: Host, textfile: Path) -> Iterator[int]:
    """Run a meter in a process of its own."""
    if (pid := os.fork()) == 0:
        meter.run(host, textfile, START, Journal(lambda _: None), period=0.05)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_meter_that_is_killed_loses_no_report_that_comes_meanwhile(
    host: Host, tmp_path: Path
) -> None:
    textfile = tmp_path / "airlock.prom"
    service = report.create(host.paths.runtime)  # the service has the pipe open too
    with running(host, textfile):
        report.report(catalogue.SESSIONS)
        eventually(lambda: textfile.exists() and _sessions(textfile) == 1, "a session")
    report.report(catalogue.SESSIONS)
    report.report(catalogue.SESSIONS)
    with running(host, textfile):
        eventually(lambda: _sessions(textfile) == 2, "the two that waited")
    os.close(service)


def _sessions(textfile: Path) -> float:
    return values(textfile)["airlock_sessions_total{}"]


def test_reader_never_sees_a_part_of_the_file(host: Host, tmp_path: Path) -> None:
    textfile = tmp_path / "airlock.prom"
    with running(host, textfile):
        eventually(textfile.exists, "a file")
        deadline, sizes = time.monotonic() + 1.0, set()
        while time.monotonic() < deadline:
            text = textfile.read_text()
            assert text.endswith("\n")
            assert "airlock_build_info{" in text
            sizes.add(text.count("\n"))
    assert len(sizes) == 1
