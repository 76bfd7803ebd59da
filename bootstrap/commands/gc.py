"""`airlock gc`: give back what dead jobs left on this host."""

from pathlib import Path

from bootstrap.host import config
from bootstrap.log import Write
from bootstrap.sandbox.lease import sweep
from bootstrap.sandbox.workspace import prepare_host


def gc(*, config_path: Path, write: Write) -> int:
    """Clear every lease whose holder is dead, and every container without a lease."""
    host = config.load(config_path)
    prepare_host(host.paths.runtime, host.paths.state)
    (host.paths.runtime / "swept").unlink(missing_ok=True)
    cleared = sweep(host)
    for name in cleared:
        write(f"cleared {name}\n".encode())
    write(f"{len(cleared)} dead job(s) cleared\n".encode())
    return 0
