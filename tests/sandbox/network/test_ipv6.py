"""Hosts that were booted with ipv6.disable=1, as far as a kernel with IPv6 can show them.

What such a kernel does was tried once, with Debian's 6.1 (docs/aws.md#hosts-without-ipv6): it opens
no IPv6 socket, has no /proc/net/if_inet6, and refuses `ip -6 rule`. Here a seccomp filter refuses
the sockets and an empty mount hides the list, in a network namespace.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and nft need root")

PROGRAM = """
import ctypes, errno, json, os, struct, sys
from pathlib import Path
from bootstrap import process
from bootstrap.sandbox.network import firewall, ipv6
from bootstrap.sandbox import proof

def refuse_ipv6_sockets():  # seccomp: socket(AF_INET6, ...) fails with EAFNOSUPPORT
    number = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
    code = [(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 0, 1, 10),
            (0x06, 0, 0, 0x00050000 | errno.EAFNOSUPPORT), (0x06, 0, 0, 0x7FFF0000)]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    filter = struct.pack("HxxxxxxP", len(code), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter) == 0

process.run(["ip", "link", "add", "airlock0", "type", "bridge"])
if "refused" in sys.argv:
    refuse_ipv6_sockets()
firewall.ensure_loaded(Path(sys.argv[1]))
rules = {f: process.run(["ip", f, "rule", "show", "pref", "1690"]).strip() for f in ("-4", "-6")}
probes = []
for attempt in proof.attempts_for("127.0.0.1", listener=True):
    if attempt.address == proof.METADATA_V6:
        attempt.open()
        attempt.send()
        probes.append([attempt.probe().outcome, attempt.probe().passed])
print(json.dumps([ipv6.is_supported(), rules, probes]))
"""


def on_host(tmp_path: Path, *, hidden: bool, refused: bool) -> list[object]:
    """Load ruleset and routing rules in a network namespace; return what there is of IPv6."""
    hide = "mount -t tmpfs none /proc/$$/net && " if hidden else ""
    argv = ["unshare", "--net", "--mount", "sh", "-c", f'{hide}exec "$@"', "sh"]
    program = [sys.executable, "-c", PROGRAM, str(tmp_path), *(["refused"] if refused else [])]
    done = subprocess.run([*argv, *program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown: list[object] = json.loads(done.stdout)
    return shown


V4 = "1690:\tfrom all to 169.254.0.0/16 iif airlock0 prohibit"
V6 = "1690:\tfrom all iif airlock0 prohibit"


def test_a_kernel_without_ipv6_needs_no_rule_and_proves_itself(tmp_path: Path) -> None:
    supported, rules, probes = on_host(tmp_path, hidden=True, refused=True)
    assert (supported, rules) == (False, {"-4": V4, "-6": ""})
    assert probes == [["EAFNOSUPPORT", True], ["EAFNOSUPPORT", True]]


@pytest.mark.parametrize(("hidden", "refused"), [(False, False), (True, False), (False, True)])
def test_a_kernel_that_only_seems_to_have_no_ipv6_gets_the_rule(
    tmp_path: Path, *, hidden: bool, refused: bool
) -> None:
    """A filter may refuse this process's sockets only, and a mount may hide a file.

    Containers may have IPv6 all the same.
    """
    supported, rules, _ = on_host(tmp_path, hidden=hidden, refused=refused)
    assert (supported, rules) == (True, {"-4": V4, "-6": V6})
