"""`airlock firewall`, in network namespaces without Docker and without the bridge."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = os.geteuid() == 0
LIST = "nft list table inet airlock | grep -c 'hook forward priority'"


def on_host(tmp_path: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script with `airlock` in it in an empty network namespace."""
    config = tmp_path / "airlock.toml"
    config.write_text(
        f'[sandbox]\nimage = "job:1"\n[paths]\nruntime = "{tmp_path}/run"\n'
        f'state = "{tmp_path}/state"\nrecords = "{tmp_path}/records.jsonl"\n'
    )
    airlock = f"airlock() {{ {sys.executable} -I -m bootstrap firewall --config {config}; }}\n"
    return subprocess.run(
        ["unshare", "--net", "--mount", "bash", "-c", airlock + script],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.skipif(not ROOT, reason="namespaces and nft need root")
def test_ruleset_is_loaded_before_there_is_a_bridge(tmp_path: Path) -> None:
    done = on_host(tmp_path, f"airlock && {LIST} && airlock")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "loaded the ruleset",
        "1",
        "the ruleset was loaded already",
    ]


@pytest.mark.skipif(not ROOT, reason="namespaces and nft need root")
def test_altered_ruleset_is_loaded_again_and_the_bridge_gets_address_and_rule(
    tmp_path: Path,
) -> None:
    rules = "ip rule show pref 1690"
    alter = "nft flush chain inet airlock through_host; ip link add airlock0 type bridge"
    done = on_host(tmp_path, f"airlock; {alter}; airlock; ip -4 -br addr show airlock0; {rules}")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["loaded the ruleset", "loaded the ruleset"], done.stderr
    assert lines[2].split()[2:] == ["169.254.170.2/32"]
    assert lines[3] == "1690:\tfrom all to 169.254.0.0/16 iif airlock0 prohibit"


def replaced(tmp_path: Path, script: str) -> str:
    """Return what has `script` run in the place of nft, which it finds as $NFT."""
    real, other = tmp_path / "nft.real", tmp_path / "nft.other"
    other.write_text(f"#!/bin/sh\nNFT={real}\n{script}\n")
    other.chmod(0o755)
    nft = "$(readlink -f $(command -v nft))"
    return f"cp {nft} {real}; mount --bind {other} {nft}; "


@pytest.mark.skipif(not ROOT, reason="namespaces and nft need root")
def test_failure_that_passes_is_tried_again(tmp_path: Path) -> None:
    counted = f"echo x >>{tmp_path}/calls; [ $(wc -l <{tmp_path}/calls) = 3 ] && exit 1"
    once = f'{counted}; exec $NFT "$@"'
    done = on_host(tmp_path, replaced(tmp_path, once) + "airlock")
    assert (done.returncode, done.stdout) == (0, "loaded the ruleset\n"), done.stderr


@pytest.mark.skipif(not ROOT, reason="namespaces and nft need root")
def test_host_whose_nft_rejects_the_ruleset_gets_a_status_that_stops_a_boot(tmp_path: Path) -> None:
    reject = 'case $* in *-f*) echo "Error: no such thing" >&2; exit 1; esac; exec $NFT "$@"'
    done = on_host(tmp_path, replaced(tmp_path, reject) + "airlock")
    assert done.returncode == 78
    assert done.stderr.startswith("airlock: this host's nft or kernel rejects Airlock's ruleset: ")
    assert "no such thing" in done.stderr
