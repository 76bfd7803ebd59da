"""`airlock gc`: remove what dead jobs left on this host."""

import time
from pathlib import Path

from bootstrap.host import config, storage, trash
from bootstrap.log import Write
from bootstrap.sandbox import history
from bootstrap.sandbox.lease import sweep
from bootstrap.sandbox.workspace import prepare_host
from bootstrap.text import counted

SWEEPING = 20.0  # seconds for clearing all dead leases


def gc(*, config_path: Path, write: Write) -> int:
    """Remove leases of dead jobs, containers without a lease, and what exceeds the storage limits.

    Their disk space is free when it returns. The status is 1 if something of a dead job is left.
    """
    host = config.load(config_path)
    config.require_root()
    prepare_host(host.paths.runtime, host.paths.state)
    try:
        (host.paths.runtime / "swept").unlink(missing_ok=True)
        swept = sweep(host, patience=SWEEPING)
        for name in swept.cleared:
            write(f"removed {name}\n".encode())
        write(f"removed {counted(len(swept.cleared), 'dead job')}\n".encode())
        for name, problem in swept.left:
            write(f"could not remove all of {name}: {problem}\n".encode())
    finally:  # also if the engine does not answer
        histories = history.collect(host.paths.state, time.time())
        write(f"removed {counted(len(histories), 'history cache')}\n".encode())
        removed_count = storage.collect(host, time.time(), records=True)
        trash.empty_now(host.paths.state)
        removed_text = counted(removed_count, "workspace or record", "workspaces and records")
        write(f"removed {removed_text} beyond the storage limits\n".encode())
    if swept.left:
        write(b"What to do: see whether Docker works (`docker ps`), then run this again.\n")
    return 1 if swept.left else 0
