"""`airlock firewall`: load the ruleset, before Docker and the agent start."""

from pathlib import Path

from bootstrap.errors import CannotStart
from bootstrap.host import config
from bootstrap.log import Write
from bootstrap.retry import with_retries
from bootstrap.sandbox.network import firewall as network
from bootstrap.sandbox.workspace import prepare_host

PATIENCE = 90.0  # seconds; nothing else of a boot waits with a job in its hands


def firewall(*, config_path: Path, write: Write) -> int:
    """Have the ruleset in the kernel, print whether it was, and return 0.

    Needs neither Docker nor the bridge, and may be repeated while jobs run. Tries again for a while
    what may be the load of a boot. Raises WrongConfiguration and CannotStart: whatever is to start
    after it must not start then.
    """
    host = config.load(config_path)
    config.require_root("Run it with sudo; its systemd unit runs it as root.")
    prepare_host(host.paths.runtime, host.paths.state)
    loaded = with_retries(
        lambda: network.ensure_loaded(host.paths.runtime, before_bridge=True),
        transient=lambda failed: isinstance(failed, CannotStart),
        patience=PATIENCE,
    )
    write(b"loaded the ruleset\n" if loaded.reloaded else b"the ruleset was loaded already\n")
    return 0
