"""airlock.toml is read whole or refused whole; the example is the documentation."""

import os
import re
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.host.builds_settings import Builds
from bootstrap.host.config import Host, load, parse

EXAMPLE = Path(__file__).parents[2] / "agent-config" / "airlock.toml"
LEAST = '[sandbox]\nimage = "job:1"\n'


def written(tmp_path: Path, text: str | bytes, mode: int = 0o644) -> Path:
    path = tmp_path / "airlock.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def mistake(path: Path, fix: str = "agent-config/airlock.toml") -> WrongConfiguration:
    with pytest.raises(WrongConfiguration) as caught:
        load(path)
    assert fix in caught.value.hint
    return caught.value


def test_example_has_every_setting_with_its_default() -> None:
    text = EXAMPLE.read_text()
    shown = tomllib.loads(text)
    least = parse({"sandbox": {"image": shown["sandbox"]["image"]}}, EXAMPLE)
    assert load(EXAMPLE) == least
    for section in fields(Host):
        assert f"[{section.name}]" in text
        table = getattr(least, section.name)
        for setting in fields(table) if is_dataclass(table) else ():
            assert f"{setting.name.replace('_', '-')} = " in text, (section.name, setting.name)


def test_example_shows_builds_with_their_defaults() -> None:
    """All of it is a comment, because a host without it builds no images."""
    text = EXAMPLE.read_text()
    lines = text[text.index("# [builds]") :].splitlines()
    table = [line for line in lines if re.match(r"# ([a-z-]+ = |\[)", line)]
    shown = tomllib.loads("\n".join(line.removeprefix("# ") for line in table))["builds"]
    assert set(shown) == {setting.name.replace("_", "-") for setting in fields(Builds)}
    made = parse({"sandbox": {"image": "x"}, "builds": shown}, EXAMPLE).builds
    assert made is not None
    least = parse({"sandbox": {"image": "x"}, "builds": {"image": shown["image"]}}, EXAMPLE)
    own = {"memory": least.sandbox.memory, "cpus": least.sandbox.cpus, "pids": least.sandbox.pids}
    assert least.builds is not None
    assert made == least.builds.model_copy(update=own)


def test_minimal_file_is_accepted(tmp_path: Path) -> None:
    assert load(written(tmp_path, LEAST)).sandbox.image == "job:1"


def test_all_mistakes_are_reported_at_once_with_suggestions(tmp_path: Path) -> None:
    found = mistake(
        written(
            tmp_path,
            '[sandbx]\n[sandbox]\nimage = ""\nmemroy = "1GiB"\ntmp = "8GB"\nfirst-uid = 0\n'
            '[aws]\nregion = "Frankfurt"\n[paths]\nstate = "relative"\n',
        )
    )
    text = "\n".join(found.details)
    assert len(found.details) == 7
    assert 'unknown key "sandbx"; did you mean "sandbox"?' in text
    assert 'sandbox: unknown key "memroy"; did you mean "memory"?' in text
    assert 'expected a size such as "512MiB" or "8GiB"; got \'8GB\'' in text
    assert "expected an absolute path" in text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "sandbox is missing"),
        ("[sandbox", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (LEAST + 'docker = "tcp://0.0.0.0:2375"\n', "sandbox.docker: expected"),
        (LEAST + "cpus = 0\n", "sandbox.cpus: expected"),
        (LEAST + 'pull = "sometimes"\n', "sandbox.pull: expected"),
        (LEAST + 'subnet = "172.31.240.0/29"\n', "sandbox.subnet: expected"),
        (LEAST + 'subnet = "10.0.0.0/8"\n', "sandbox.subnet: expected"),
        (LEAST + 'subnet = "169.254.0.0/20"\n', "sandbox.subnet: expected"),
        (LEAST + 'subnet = "127.8.0.0/20"\n', "sandbox.subnet: expected"),
        (LEAST + 'dns = ["127.0.0.1"]\n', "sandbox.dns[0]: expected"),
        (LEAST + 'dns = ["169.254.169.253"]\n', "sandbox.dns[0]: expected"),
        (LEAST + 'dns = ["fd00::2"]\n', "sandbox.dns[0]: "),
        (LEAST + "first-uid = 999\n", "sandbox.first-uid: expected"),
        (
            LEAST + "first-uid = 1000\n",
            "sandbox.first-uid: expected",
        ),  # the one before the first is the helpers'
        (LEAST + "slots = 0\n", "sandbox.slots: expected"),
        (LEAST + 'memory = "0GiB"\n', "sandbox.memory: expected"),  # to Docker, that is no limit
        (LEAST + 'memory = "1MiB"\n', "sandbox.memory: expected"),
        (LEAST + 'tmp = "0MiB"\n', "sandbox.tmp: expected"),
        (
            LEAST + "first-uid = 65500\nslots = 35\n",
            "first-uid and slots give jobs uids",
        ),  # 65534 is nobody
        (LEAST + "first-uid = 2147483640\nslots = 9\n", "first-uid and slots give jobs uids"),
        (
            LEAST + '[storage]\nfloor = "6GiB"\n',
            "expected floor (6144 MiB, 25000 inodes) to be at most min-free",
        ),
        (LEAST + "[storage]\nworkspaces = 0\n", "storage.workspaces: expected"),
        (LEAST + '[storage]\nrecord-age = "1w"\n', "storage.record-age: expected"),
        (LEAST + "[storage]\nhistories = 0\n", "storage.histories: expected"),
        (LEAST + '[storage]\nworkspaces-size = "many"\n', "storage.workspaces-size: expected"),
        (LEAST + "[storage]\nimage-age = 30\n", "storage.image-age: expected"),
        (
            LEAST + '[storage]\ntrail-size = "150MiB"\n',
            "trail-size is 150 MiB, expected at least twice trail-file (100 MiB)",
        ),
        (
            LEAST + "[service]\nagents = []\n",
            "service.agents: expected the name of at least one user",
        ),
        (LEAST + '[service]\nagents = ["a b"]\n', "service.agents[0]: expected the name of a user"),
        (LEAST + '[service]\nsocket = "airlock.sock"\n', "service.socket: expected an absolute"),
        (
            LEAST + f'[service]\nsocket = "/run/{"s" * 103}"\n',
            "service.socket: expected a path of at most 107 bytes, not of 108",
        ),
        (
            LEAST + '[service]\nsocket = "/run/airlock/socket"\n',
            "service.socket is /run/airlock/socket, expected a path outside of paths.runtime",
        ),
        (LEAST + "[service]\njobs-per-agent = -1\n", "service.jobs-per-agent: expected 0 or more"),
        (
            LEAST + '[service]\ngc-interval = "59s"\n',
            'service.gc-interval: expected "0s", which is never, or "1m" or more; got',
        ),
        (
            LEAST + '[service]\nmetrics = "here"\n',
            "service.metrics: expected an absolute path that ends in .prom",
        ),
        (LEAST + '[policy]\nstore = "s3:/x"\n', "policy.store: expected"),
        (LEAST + '[aws]\ncredentials = "AKIA"\n', "aws.credentials: expected"),
    ],
)
def test_invalid_file_is_refused(tmp_path: Path, text: str | bytes, problem: str) -> None:
    found = mistake(written(tmp_path, text))
    assert problem in "\n".join((found.problem, *found.details))
    assert len(found.details) <= 1


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in mistake(tmp_path / "absent.toml", "install -D -m 0644").problem


@pytest.mark.parametrize(
    ("first", "slots", "last"), [(65500, 34, 65533), (2147483640, 8, 2**31 - 1)]
)
def test_highest_possible_uids_are_accepted(
    tmp_path: Path, first: int, slots: int, last: int
) -> None:
    further = f"first-uid = {first}\nslots = {slots}\n"
    uids = load(written(tmp_path, LEAST + further)).sandbox.uids
    assert uids[-1] == last


def test_trail_without_bound_or_without_rotation_is_accepted(tmp_path: Path) -> None:
    for further in ('trail-size = "0GiB"\n', 'trail-file = "0MiB"\ntrail-size = "1MiB"\n'):
        assert load(written(tmp_path, f"{LEAST}[storage]\n{further}")).storage.trail_age > 0


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_file_writable_by_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, LEAST, mode)
    assert f"mode {mode:04o}" in mistake(path, f"chmod go-w {path}").problem


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_file_of_another_owner_is_refused(tmp_path: Path) -> None:
    os.chown(path := written(tmp_path, LEAST), 1234, 1234)
    assert "belongs to uid 1234" in mistake(path, f"chown root {path}").problem


@given(
    st.dictionaries(
        st.sampled_from(["policy", "aws", "sandbox", "paths", "x"]),
        st.dictionaries(
            st.sampled_from(["image", "memory", "region", "state", "first-uid", "cpus", "y"]),
            st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.text()),
        )
        | st.text()
        | st.integers(),
    )
)
def test_arbitrary_document_is_parsed_or_refused(document: dict[str, object]) -> None:
    try:
        assert parse(document, EXAMPLE).sandbox.image
    except WrongConfiguration as error:
        assert error.details


def test_removed_key_is_refused_with_its_replacement() -> None:
    with pytest.raises(WrongConfiguration, match="has 1 mistake") as wrong:
        parse({"sandbox": {"image": "x", "uid": 2000}}, Path("airlock.toml"))
    (detail,) = wrong.value.details
    assert "each running job has a uid of its own; set first-uid and slots there" in detail


def test_missing_key_is_named_without_printing_the_section() -> None:
    with pytest.raises(WrongConfiguration) as wrong:
        parse({"sandbox": {"uids": 1}}, Path("airlock.toml"))
    assert "sandbox.image is missing" in wrong.value.details
