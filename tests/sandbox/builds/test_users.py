"""A builder's users: where they are, and on which hosts there can be none."""

import grp
import os
import pwd
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.host import trash
from bootstrap.host.builds_settings import USERS, Builds
from bootstrap.host.config import Host, Sandbox, parse
from bootstrap.sandbox.builds import builder, plan, users
from bootstrap.sandbox.leases import subordinate
from bootstrap.sandbox.leases.slots import CACHE, owner
from bootstrap.sandbox.model import Image
from bootstrap.sandbox.shares import Share
from tests.lab.engine import eventually

HOST = Host(sandbox=Sandbox(image="job:1"), builds=Builds(image="buildkit:1"))


@pytest.fixture(autouse=True)
def no_other_ranges(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "subuid"
    monkeypatch.setattr(subordinate, "FILES", (file,))
    return file


def test_no_two_slots_share_a_number_and_none_has_a_jobs() -> None:
    ranges = [users.of_slot(HOST, uid) for uid in HOST.sandbox.uids]
    assert all(len(one) == USERS for one in ranges)
    assert all(one.stop == other.start for one, other in pairwise(ranges))
    assert ranges[-1].stop <= 1 << 31
    assert ranges[0].start > HOST.sandbox.uids.stop


@example(first=USERS, slots=1, first_uid=2 * USERS)
@example(first=2 * USERS, slots=10, first_uid=2 * USERS - 10)
@given(st.integers(USERS, (1 << 32) - 1), st.integers(1, 1000), st.integers(1001, (1 << 31) - 2000))
def test_users_are_accepted_if_and_only_if_nobody_else_has_them(
    first: int, slots: int, first_uid: int
) -> None:
    ours, jobs = range(first, first + slots * USERS), range(first_uid, first_uid + slots)
    disjoint = ours.stop <= jobs.start or jobs.stop <= ours.start
    try:
        Builds(image="b", first_uid=first).check(jobs)
    except ValueError:
        assert ours.stop > 1 << 31 or not disjoint
    else:
        assert ours.stop <= 1 << 31
        assert disjoint


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ],
)
def test_a_kernel_without_user_namespaces_is_named_with_the_alternative(
    tmp_path: Path, setting: str, value: str
) -> None:
    (tmp_path / setting).parent.mkdir(parents=True)
    (tmp_path / setting).write_text(f"{1 - int(value)}\n")
    users.require(HOST, tmp_path)
    (tmp_path / setting).write_text(f"{value}\n")
    with pytest.raises(WrongConfiguration) as raised:
        users.require(HOST, tmp_path)
    assert setting.replace("/", ".") in raised.value.problem
    command = raised.value.hint.partition("`sysctl -w ")[2].partition("`")[0]
    (tmp_path / setting).write_text(command.partition("=")[2])
    users.require(HOST, tmp_path)
    assert "a BuildKit elsewhere" in raised.value.hint


def test_a_host_without_the_table_learns_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration) as raised:
        users.require(HOST.model_copy(update={"builds": None}), tmp_path)
    assert "[builds]" in raised.value.hint


assert HOST.builds
OURS = HOST.builds.uids(HOST.sandbox.slots)


@pytest.mark.parametrize(
    ("first", "count", "refused"),
    [
        (OURS.stop - 1, 1, True),
        (OURS.stop, 1, False),
        (OURS.start - 10, 11, True),
        (OURS.start - 10, 10, False),
        (OURS.start - 10, len(OURS) + 20, True),
    ],
)
def test_numbers_that_others_may_have_are_refused(
    tmp_path: Path, no_other_ranges: Path, first: int, count: int, *, refused: bool
) -> None:
    no_other_ranges.write_text(f"someone:{first}:{count}\n")
    if not refused:
        users.require(HOST, tmp_path)
        return
    with pytest.raises(WrongConfiguration) as raised:
        users.require(HOST, tmp_path)
    assert f"gives someone numbers from {first} on" in raised.value.problem


@pytest.mark.parametrize(("offset", "refused"), [(-1, False), (0, True), (len(OURS), False)])
def test_a_number_of_an_account_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, *, refused: bool
) -> None:
    number = OURS.start + offset
    one = pwd.struct_passwd(("someone", "x", number, 100, "", "/", "/bin/sh"))
    other = grp.struct_group(("some", "x", number, []))
    for module, all_of_them, entry, problem in (
        (pwd, "getpwall", one, f"the user someone has {number}"),
        (grp, "getgrall", other, f"the group some has {number}"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, all_of_them, lambda entry=entry: [entry])
            if refused:
                with pytest.raises(WrongConfiguration, match=problem):
                    users.require(HOST, tmp_path)
            else:
                users.require(HOST, tmp_path)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, "image"),
        ({"image": "b", "first-uid": 65535}, "65536 or more"),
        ({"image": "b", "first-uid": 2147400000}, "below 2147483648"),
        ({"image": ""}, "image"),
        ({"image": "b", "cpus": 0.0}, "cpus"),
        ({"image": "b", "pids": 63}, "pids"),
        ({"image": "b", "cashe": "1GiB"}, "cache"),
        ({"image": "b", "cache": "much"}, "cache"),
    ],
)
def test_a_mistake_in_the_table_is_named(table: dict[str, object], expected: str) -> None:
    with pytest.raises(WrongConfiguration) as raised:
        parse({"sandbox": {"image": "job:1"}, "builds": table}, Path("airlock.toml"))
    assert expected in "".join(raised.value.details)


def test_the_table_is_read() -> None:
    table = {"image": "b@sha256:" + "0" * 64, "memory": "2GiB", "cpus": 2.0, "cache": "1GiB"}
    found = parse({"sandbox": {"image": "job:1"}, "builds": table}, Path("airlock.toml")).builds
    assert found is not None
    assert (found.memory, found.cpus, found.cache) == (2 << 30, 2.0, 1 << 30)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_a_cache_of_another_slot_is_discarded(tmp_path: Path) -> None:
    tree, notes = tmp_path / "workspaces/w", list[str]()
    tree.mkdir(parents=True)
    mine = users.of_slot(HOST, HOST.sandbox.first_uid)
    made = builder.cache(tmp_path, tree, mine, notes.append)
    (made / "layer").touch()
    assert builder.cache(tmp_path, tree, mine, notes.append) == made
    assert (made / "layer").exists()
    assert not notes
    other = users.of_slot(HOST, HOST.sandbox.first_uid + 1)
    assert builder.cache(tmp_path, tree, other, notes.append) == made
    assert not list(made.iterdir())
    assert (made.stat().st_uid, made.stat().st_gid) == (other.start, other.start)
    assert made.stat().st_mode & 0o777 == 0o700
    assert "discarded" in notes[0]
    eventually(lambda: trash.is_empty(tmp_path), "what was discarded is deleted")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_a_link_is_no_cache_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    tree, elsewhere = tmp_path / "workspaces/w", tmp_path / "elsewhere"
    mine = users.of_slot(HOST, HOST.sandbox.first_uid)
    for made in (tree, elsewhere):
        made.mkdir(parents=True)
    os.chown(elsewhere, mine.start, 0)
    (tree / CACHE).symlink_to(elsewhere)
    made = builder.cache(tmp_path, tree, mine, lambda _: None)
    assert not made.is_symlink()
    assert (elsewhere.stat().st_uid, elsewhere.stat().st_gid) == (mine.start, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_the_cache_has_no_part_in_the_choice_of_a_slot(tmp_path: Path) -> None:
    for name, uid in (("builds", 61003), ("plugins", 61003), (CACHE, 0x7000_0000)):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, uid, uid)
    assert owner(tmp_path) == 61003


def test_a_record_has_its_image_its_user_and_its_limits() -> None:
    image = Image(id="sha256:abc", reference="buildkit:1", digests=("buildkit@sha256:def",))
    assert HOST.builds
    spec = plan.builder_spec(
        Share(memory=1 << 30, cpus=1.5, pids=99), HOST.sandbox, token="t-1",
        users=OURS, image=image,
        directory=Path("/d"), cache=Path("/c"), resolvers=Path("/r"), program=Path("/p"),
    )  # fmt: skip
    assert builder.facts(HOST.builds, spec) == {
        "image": "sha256:abc", "reference": "buildkit:1", "digests": ["buildkit@sha256:def"],
        "user": OURS.start, "memory": 1 << 30, "cpus": 1.5, "pids": 99, "cache": 20 << 30,
    }  # fmt: skip
