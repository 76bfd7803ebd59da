"""`airlock gc`: give back what dead jobs left on this host."""

import time
from pathlib import Path

from bootstrap.host import config, storage, trash
from bootstrap.log import Write
from bootstrap.sandbox import history
from bootstrap.sandbox.lease import sweep
from bootstrap.sandbox.workspace import prepare_host


def gc(*, config_path: Path, write: Write) -> int:
    """Clear every lease whose holder is dead, every container without one, and what is too much.

    When it returns, nothing that was given up is left on the disk.
    """
    host = config.load(config_path)
    config.require_root()
    prepare_host(host.paths.runtime, host.paths.state)
    try:
        (host.paths.runtime / "swept").unlink(missing_ok=True)
        cleared = sweep(host)
        for name in cleared:
            write(f"cleared {name}\n".encode())
        write(f"{len(cleared)} dead job(s) cleared\n".encode())
    finally:  # the disk's space does not wait for an engine that is away
        histories = history.collect(host.paths.state, time.time())
        write(f"{len(histories)} history cache(s) removed\n".encode())
        given_up = storage.collect(host, time.time(), records=True)
        trash.empty_now(host.paths.state)
        write(f"{given_up} workspace(s) and record(s) beyond the budget removed\n".encode())
    return 0
