"""A git server over ssh, in the lab's own namespace, that accepts one key."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import world
from tests.lab.engine import eventually

PORT = 2222


@dataclass(frozen=True, kw_only=True, slots=True)
class GitOverSsh:
    """Its address, the key that it accepts, and its host key."""

    base: Path
    private_key: str
    public_key: str
    known_host: str
    port: int

    def url(self, bare: Path) -> str:
        return f"ssh://root@{world.WORLD}:{self.port}{bare}"


@contextmanager
def git_over_ssh(
    base: Path, *, port: int = PORT, takes: GitOverSsh | None = None
) -> Iterator[GitOverSsh]:
    """Serve this machine's repositories over ssh until this closes.

    With `takes` it is another host that accepts the key of that server.
    """
    base.mkdir(parents=True)
    for name in ("host", "deploy"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(base / name)]
        subprocess.run(keygen, check=True)
    shutil.copy(base / "deploy.pub", base / "authorized")
    if takes:
        (base / "authorized").write_text(takes.public_key + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    (base / "config").write_text(
        f"Port {port}\nListenAddress {world.WORLD}\nHostKey {base}/host\nPidFile none\n"
        f"AuthorizedKeysFile {base}/authorized\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    argv = ["ip", "netns", "exec", world.NAMESPACE, "/usr/sbin/sshd", "-D", "-e", "-f",
            str(base / "config")]  # fmt: skip
    with (base / "log").open("wb") as log, subprocess.Popen(argv, stderr=log) as process:
        try:
            eventually(lambda: b"listening" in (base / "log").read_bytes(), "sshd listens")
            kind, key, _ = (base / "host.pub").read_text().split()
            yield GitOverSsh(
                base=base,
                private_key=(base / "deploy").read_text(),
                public_key=(base / "deploy.pub").read_text().strip(),
                known_host=f"[{world.WORLD}]:{port} {kind} {key}",
                port=port,
            )
        finally:
            process.terminate()
            process.wait(20)
