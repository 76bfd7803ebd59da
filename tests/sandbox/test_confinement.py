"""The seccomp profile as a document, and the check of processes without it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox import confinement
from bootstrap.sandbox.confinement import (
    apparmor_profile,
    check,
    has_apparmor,
    members,
    profile,
    wrong_label,
)
from tests.lab.engine import eventually
from tests.sandbox.confined import process

PROFILE = json.loads(profile())

# Docker's default profile allows these with capabilities only, or not at all
# (docs.docker.com/engine/security/seccomp), except the last line.
PRIVILEGED = """
    acct add_key bpf chroot clone3 delete_module fanotify_init finit_module fsconfig fsmount fsopen
    fspick get_kernel_syms get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup
    ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind mount mount_setattr
    move_mount move_pages nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd
    pivot_root process_madvise query_module quotactl reboot request_key set_mempolicy setns
    settimeofday stime swapoff swapon _sysctl sysfs syslog umount umount2 unshare uselib userfaultfd
    ustat vhangup vm86 vm86old
    socketcall
"""
NEVER = frozenset(PRIVILEGED.split())


def rules(*, conditional: bool) -> Iterator[dict[str, Any]]:
    return (rule for rule in PROFILE["syscalls"] if bool(rule.get("args")) is conditional)


def names(*, conditional: bool) -> list[str]:
    allowed = (r for r in rules(conditional=conditional) if r["action"] == "SCMP_ACT_ALLOW")
    return [name for rule in allowed for name in rule["names"]]


def test_unlisted_syscalls_are_refused_on_both_architectures() -> None:
    assert PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
    assert [entry["architecture"] for entry in PROFILE["archMap"]] == [
        "SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64",
    ]  # fmt: skip
    assert "\n" not in profile()
    assert "SCMP_ARCH_X32" not in profile()


def test_privileged_syscalls_are_not_listed() -> None:
    assert not NEVER & set(names(conditional=False) + names(conditional=True))


def test_conditional_syscalls_are_not_listed_unconditionally() -> None:
    """In libseccomp the rule without arguments wins, whichever comes first."""
    listed = names(conditional=False)
    assert len(set(listed)) == len(listed)
    assert not set(listed) & set(names(conditional=True))


def test_clone_with_any_namespace_flag_is_refused() -> None:
    """CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (clone(2))."""
    (rule,) = (rule for rule in rules(conditional=True) if "clone" in rule["names"])
    (argument,) = rule["args"]
    flags = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
    assert argument["value"] == sum(flags)
    assert (argument["valueTwo"], argument["op"]) == (0, "SCMP_CMP_MASKED_EQ")


def test_process_without_seccomp_filter_cannot_start() -> None:
    with subprocess.Popen(["sleep", "60"]) as bare:
        try:
            with pytest.raises(CannotStart, match="Seccomp: expected 2, got 0") as refused:
                check(bare.pid, "runc")
            assert "NoNewPrivs: expected 1, got 0" in refused.value.problem
        finally:
            bare.kill()


def test_container_without_visible_entry_script_cannot_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with a runtime that has a kernel of its own."""
    monkeypatch.setattr(confinement, "PATIENCE", 0.01)
    ended = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    with pytest.raises(CannotStart, match="entry script did not appear among") as refused:
        check(ended, "runsc")
    assert "runsc" in refused.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="drops capabilities")
def test_processes_that_end_meanwhile_are_no_failure() -> None:
    """Entry points of services start programs, which end between the list and the look at each."""
    with process("filter", "forks", prefix=("unshare", "--pid", "--fork", "--kill-child")) as pid:
        eventually(lambda: len(tuple(members(pid))) > 1, "it has its children")
        for _ in range(200):
            check(pid, "runc")


# As `docker info` lists them on Debian 12, and on a host without apparmor_parser.
WITH_APPARMOR = ["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"]


def test_apparmor_is_asked_for_where_kernel_and_engine_have_it(tmp_path: Path) -> None:
    assert apparmor_profile(WITH_APPARMOR) == "docker-default"
    assert apparmor_profile(WITH_APPARMOR[1:]) is None
    enabled = tmp_path / "enabled"
    assert not has_apparmor(enabled)
    for text, expected in (("N\n", False), ("Y\n", True)):
        enabled.write_text(text)
        assert has_apparmor(enabled) is expected


@pytest.mark.parametrize("attribute", ["attr/apparmor/current", "attr/current"])
@pytest.mark.parametrize(
    ("label", "got"),
    [
        ("docker-default (enforce)\n", ""),
        ("docker-default (complain)\n", "got docker-default (complain)"),
        ("unconfined\n", "got unconfined"),
        ("docker-default//child (enforce)\n", "got docker-default//child (enforce)"),
        ("\0", "got no label"),
    ],
)
def test_apparmor_label_of_a_process(tmp_path: Path, attribute: str, label: str, got: str) -> None:
    """As the kernel shows it in proc(5), with and without a directory of AppArmor's own."""
    (tmp_path / attribute).parent.mkdir(parents=True)
    (tmp_path / attribute).write_text(label)
    why = wrong_label(tmp_path, "docker-default")
    assert why == (got and f"AppArmor: expected docker-default (enforce), {got}")


def test_unreadable_apparmor_label_is_an_error(tmp_path: Path) -> None:
    assert "cannot be read" in wrong_label(tmp_path, "docker-default")
    with subprocess.Popen(["sleep", "60"]) as bare:
        try:
            with pytest.raises(CannotStart, match="Seccomp: expected 2") as refused:
                check(bare.pid, "runc", "docker-default")
            assert "AppArmor: expected docker-default (enforce)" in refused.value.problem
        finally:
            bare.kill()


@contextmanager
def control_group() -> Iterator[Path]:
    """A control group as an engine makes one: of version 2 if its hierarchy has controllers."""
    unified, pids = Path("/sys/fs/cgroup/cgroup.procs"), Path("/sys/fs/cgroup/pids")
    if not unified.exists() and not pids.exists():
        pytest.skip("no hierarchy of control groups is mounted")
    path = (unified.parent if unified.exists() else pids) / f"airlock-test-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        eventually(lambda: not (path / "cgroup.procs").read_text(), "its processes end")
        path.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace needs root")
@pytest.mark.parametrize("own", [True, False])
def test_members_are_all_processes_of_the_namespace_and_no_other(own: bool) -> None:  # noqa: FBT001
    """With a control group of its own, which a process of another namespace shares, or without."""
    with control_group() as group, ExitStack() as held:

        def started(*argv: str, inside: bool) -> subprocess.Popen[bytes]:
            enter = f"echo $$ >{group}/cgroup.procs; " if inside else ""
            argv = ("sh", "-c", f'{enter}exec "$@"', "sh", *argv)
            process = held.enter_context(subprocess.Popen(argv))
            held.callback(process.kill)
            return process

        three = "sleep 60 & sleep 60 & exec sleep 60"
        argv = ("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", three)
        outside = started(*argv, inside=own)
        started("sleep", "60", inside=True)
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
        eventually(lambda: children.read_text().split(), "the first process is there")
        (first,) = map(int, children.read_text().split())
        eventually(lambda: len(list(members(first))) == 3, "all three are there")
        of_it = {first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())}
        assert set(members(first)) == of_it
        listed = confinement.of_its_control_group(first)
        assert (set(listed) >= {*of_it, outside.pid}) is own


def test_ended_process_has_no_members() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert list(members(ended.pid)) == []


def test_a_container_that_has_ended_is_not_waited_for() -> None:
    """A service may end at once; who waits for it to be ready finds that out."""
    process = subprocess.Popen(["true"])
    process.wait()
    check(process.pid, "runc", has_ended=lambda: process.poll() is not None)
