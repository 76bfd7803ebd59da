"""Each job has a uid of its own, never an account's, and a dead job's stays until cleared."""

import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.host.config import Host, Paths, Sandbox
from bootstrap.sandbox.leases.slots import in_order, owner, slot

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")


def host(runtime: Path, **sandbox: int) -> Host:
    (runtime / "jobs").mkdir(exist_ok=True)
    settings = Sandbox(image="job:1").model_copy(update=sandbox)
    return Host(sandbox=settings, paths=Paths(runtime=runtime))


def test_concurrent_jobs_have_different_uids(tmp_path: Path) -> None:
    here, tree = host(tmp_path, slots=3), tmp_path / "none"
    with (
        slot(here, "a", tree=tree, agent="x") as one,
        slot(here, "b", tree=tree, agent="x") as two,
        slot(here, "c", tree=tree, agent="x") as three,
    ):
        assert {one, two, three} == set(here.sandbox.uids)
        with (
            pytest.raises(CannotStart, match="all 3 slots of this host are taken"),
            slot(here, "d", tree=tree, agent="x"),
        ):
            pass
    with slot(here, "e", tree=tree, agent="x") as again:
        assert again == one


def test_uid_of_dead_job_is_not_reused_before_its_lease_is_cleared(tmp_path: Path) -> None:
    """Its container may still run, although its lock is free."""
    here = host(tmp_path, slots=1)
    lease = tmp_path / "jobs/dead"
    lease.mkdir()
    with slot(here, "dead", tree=tmp_path / "none", agent="x"):
        pass
    with (
        pytest.raises(CannotStart, match="all 1 slots of this host are taken"),
        slot(here, "next", tree=tmp_path / "none", agent="x"),
    ):
        pass
    lease.rmdir()
    with slot(here, "next", tree=tmp_path / "none", agent="x") as uid:
        assert uid == here.sandbox.first_uid


def test_slot_that_cannot_be_taken_is_125(tmp_path: Path) -> None:
    """As on a tmpfs without space."""
    (tmp_path / "slots").touch()
    with (
        pytest.raises(CannotStart, match="could not be taken: File exists"),
        slot(host(tmp_path), "a", tree=tmp_path / "none", agent="x"),
    ):
        pass


@root
def test_owner_of_the_workspace_is_preferred(tmp_path: Path) -> None:
    here = host(tmp_path, slots=64)
    tree = tmp_path / "workspace"
    for name in ("builds", "plugins"):
        (tree / name).mkdir(parents=True)
        os.chown(tree / name, 61042, 61042)
    assert owner(tree) == 61042
    with slot(here, "a", tree=tree, agent="x") as uid:
        assert uid == 61042
        with slot(here, "b", tree=tree, agent="x") as other:
            assert other != 61042
    os.chown(tree / "plugins", 0, 0)
    assert owner(tree) is None


def test_uid_of_an_account_is_a_configuration_error(tmp_path: Path) -> None:
    taken = max(account.pw_uid for account in pwd.getpwall() if account.pw_uid < 60000)
    if taken < 1001:
        taken = 0
    here = host(tmp_path).model_copy(
        update={"sandbox": Sandbox(image="any", first_uid=taken, slots=1)}
    )
    with (
        pytest.raises(WrongConfiguration, match=f"has the number {taken}"),
        slot(here, "a", tree=tmp_path, agent="x"),
    ):
        pass


def test_uid_of_an_unlisted_account_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a directory service that answers for a uid but lists no accounts."""
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ada"))
    with (
        pytest.raises(WrongConfiguration, match="the user ada"),
        slot(host(tmp_path), "a", tree=tmp_path, agent="x"),
    ):
        pass


@given(
    slots=st.integers(1, 100),
    preferred=st.none() | st.integers(60950, 61150),
    agent=st.text(max_size=20),
)
def test_uids_come_once_each_with_the_preferred_first(
    slots: int, preferred: int | None, agent: str
) -> None:
    uids = range(61000, 61000 + slots)
    order = list(in_order(uids, preferred=preferred, agent=agent))
    assert sorted(order) == list(uids)
    assert order[0] == preferred or preferred not in uids
