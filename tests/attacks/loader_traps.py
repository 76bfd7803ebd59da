"""Files and servers that a job's variables point to, each of which shows when it was used."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.simulator import Call, Reply, Simulator, loopback

LIBRARY = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void spring(void)
{
    close(open("%s", O_CREAT | O_WRONLY, 0644));
}
unsigned la_version(unsigned version) { return version; }
int gconv_init(void *step) { (void)step; return 0; }
int gconv(void) { return 0; }
"""
# What a bootstrap-script of twenty lines does: it starts programs. Each falls into one trap.
SCRIPT = """#!/bin/bash
nft list tables
/usr/bin/python3 -c pass
iconv -f TRAP -t UTF-8 </dev/null
openssl version
mktemp
sh -i -c : </dev/null
bash -l -c :
curl --silent --max-time 5 http://storefront.invalid/
{docker} version
{python} -c "import boto3; boto3.client('sts', region_name='us-east-1').get_caller_identity()"
/lib64/ld-linux-*.so.* --list-tunables | grep -q 'arena_max: 0x7 ' && : >{trap}/sprung-tunables
env MORE="$(head -c 125000 /dev/zero | tr '\\0' x)" /bin/true || : >{trap}/sprung-too-large
exit 0
"""


class Mallory(Simulator):
    """A server of the attacker that records every call."""

    def answer(self, _: Call) -> Reply:
        return Reply(status=404)


@dataclass(frozen=True, kw_only=True, slots=True)
class Traps:
    """What the variables of `variables` name. `sprung` lists what was used since `reset`."""

    path: Path
    library: Path
    mallory: Mallory
    opened: list[str] = field(default_factory=list)

    def sprung(self) -> set[str]:
        files = {path.name for path in self.path.glob("sprung*")}
        files |= {f"in {path.parent.name}" for path in (self.path / "tmp").iterdir()}
        return (
            files | set(self.opened) | {f"{call.method} to mallory" for call in self.mallory.calls}
        )

    def reset(self) -> None:
        for path in (*self.path.glob("sprung*"), *(self.path / "tmp").iterdir()):
            path.unlink()
        self.opened.clear()
        self.mallory.calls.clear()

    def variables(self, kind: str) -> dict[str, str]:
        url, path, library = self.mallory.url, str(self.path), str(self.library)
        proxies = ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY")
        return {
            "LD_PRELOAD": {"LD_PRELOAD": library},
            "LD_AUDIT": {"LD_AUDIT": library},
            "LD_LIBRARY_PATH": {
                "LD_LIBRARY_PATH": str(self.library.parent), "LD_PRELOAD": self.library.name,
            },
            "GLIBC_TUNABLES": {"GLIBC_TUNABLES": "glibc.malloc.arena_max=7"},
            "GCONV_PATH": {"GCONV_PATH": f"{path}/gconv"},
            "LOCPATH": {"LOCPATH": f"{path}/locale", "LC_ALL": "trap"},
            "OPENSSL_CONF": {"OPENSSL_CONF": f"{path}/openssl"},
            "PYTHON": {"PYTHONPATH": f"{path}/python", "PYTHONINSPECT": "1"},
            "BASH_ENV": {"BASH_ENV": f"{path}/shell"},
            "ENV": {"ENV": f"{path}/shell"},
            "PATH": {"PATH": f"{path}/bin:/usr/bin:/bin"},
            "DOCKER_HOST": {"DOCKER_HOST": url.replace("http", "tcp")},
            "AWS": {
                "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "AKIAMALLORY",
                "AWS_SECRET_ACCESS_KEY": "mallory", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
            },
            "proxies": dict.fromkeys(proxies, url),
            "TMPDIR": {"TMPDIR": f"{path}/tmp"},
            "HOME": {"HOME": path},
            "2 MB": {f"LARGE_{number}": "x" * 125_000 for number in range(15)},
        }[kind]  # fmt: skip


# What the plain script's programs do with the variables of each kind.
ACTS = {
    "LD_PRELOAD": "sprung-library",
    "LD_AUDIT": "sprung-library",
    "LD_LIBRARY_PATH": "sprung-library",
    "GLIBC_TUNABLES": "sprung-tunables",
    "GCONV_PATH": "sprung-library",
    "LOCPATH": "LC_CTYPE is read",
    "OPENSSL_CONF": "openssl is read",
    "PYTHON": "sprung-python",
    "BASH_ENV": "sprung-shell",
    "ENV": "sprung-shell",
    "PATH": "sprung-path",
    "DOCKER_HOST": "HEAD to mallory",
    "AWS": "POST to mallory",
    "proxies": "GET to mallory",
    "TMPDIR": "in tmp",
    "HOME": "sprung-shell",
    "2 MB": "sprung-too-large",
}


def compiled(target: Path, spring: Path) -> None:
    """Compile the library whose loading creates the file `spring`."""
    source = target.with_suffix(".c")
    source.write_text(LIBRARY % spring)
    command = ["gcc", "-shared", "-fPIC", "-Os", "-s", "-o", str(target), str(source)]
    subprocess.run(command, check=True)


def script(path: Path, traps: Traps) -> Path:
    """Write the plain bootstrap-script."""
    docker = shutil.which("docker") or "docker"
    path.write_text(SCRIPT.format(docker=docker, python=sys.executable, trap=traps.path))
    path.chmod(0o755)
    return path


@contextmanager
def traps(base: Path, library: Path) -> Iterator[Traps]:
    """Set the traps until this closes. `library` is what was compiled before."""
    for directory in ("bin", "python", "gconv", "locale/trap", "tmp"):
        (base / directory).mkdir(parents=True)
    (base / "bin/nft").write_text(f"#!/bin/sh\n: >{base}/sprung-path\n")
    (base / "bin/nft").chmod(0o755)
    (base / "python/sitecustomize.py").write_text(f"open('{base}/sprung-python', 'w').close()\n")
    for name in ("shell", ".bash_profile"):
        (base / name).write_text(f": >{base}/sprung-shell\n")
    (base / "gconv/gconv-modules").write_text("module TRAP// INTERNAL trap 1\n")
    shutil.copy(library, base / "gconv/trap.so")
    pipes = [base / "openssl", base / "locale/trap/LC_CTYPE"]
    for pipe in pipes:
        os.mkfifo(pipe)
    ended = threading.Event()
    with Mallory(loopback()) as mallory:
        made = Traps(path=base, library=library, mallory=mallory)
        watcher = threading.Thread(target=_watch, args=(pipes, made.opened, ended))
        watcher.start()
        try:
            yield made
        finally:
            ended.set()
            watcher.join()


def _watch(pipes: list[Path], opened: list[str], ended: threading.Event) -> None:
    """Note who opens a pipe to read it: until then nobody can open it to write."""
    while not ended.wait(0.02):
        for pipe in pipes:
            try:
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue
            opened.append(f"{pipe.name} is read")
