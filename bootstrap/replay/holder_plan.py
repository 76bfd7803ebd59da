"""The container of a holder that sets up its network itself (launcher/holder.c)."""

from typing import Any

from bootstrap.sandbox import plan
from bootstrap.sandbox.model import SandboxSpec

NETWORK = ("NET_ADMIN", "NET_BIND_SERVICE")


def holder_body(
    spec: SandboxSpec,
    seccomp: str,
    apparmor: str | None,
    *,
    network: str,
    command: tuple[str, ...],
    capabilities: tuple[str, ...] = NETWORK,
) -> dict[str, Any]:
    """Return the body of a holder that sets up its network itself, and ends as it is asked to.

    Only `command` runs in it, as root with what that takes, and nothing of its image
    (launcher/holder.c).
    """
    body = plan.holder_body(spec, seccomp, apparmor)
    host_config = {
        **body["HostConfig"],
        "NetworkMode": network,
        "CapAdd": list(capabilities),
        "Init": False,
    }
    return {
        **body,
        "HostConfig": host_config,
        "User": "0:0",
        "Entrypoint": list(command),
        "OpenStdin": False,
    }
