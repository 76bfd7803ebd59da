"""Docker, with network.py: no other module calls it.

Never its archive API, never exec: both run on the job's files.
"""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Any

from bootstrap.errors import AirlockError, CannotStart
from bootstrap.sandbox import confinement
from bootstrap.sandbox.engine_client import Client, EngineFailure
from bootstrap.sandbox.model import Holder, Running, SandboxSpec, is_token
from bootstrap.sandbox.plan import (
    HOLDER_LABEL,
    LABEL,
    NETWORK,
    engine_body,
    holder_body,
    joined_body,
)

NOT_FOUND, CONFLICT = 404, 409
TIMEOUT = 60  # seconds for any one call to the engine
_OUTCOME = 5.0  # seconds for it to say how a container beside the job's ended


def connect(url: str, *, timeout: float = TIMEOUT) -> Client:
    """Return a client of the engine at `url`; each of its calls may take `timeout` seconds.

    Raises CannotStart if the engine does not answer.
    """
    try:
        return Client(url, timeout=timeout)
    except (EngineFailure, HTTPException, OSError) as silent:
        hangs = isinstance(silent, TimeoutError)
        why = f" within {timeout:.0f} s" if hangs else f": {silent}"
        raise CannotStart(
            f"Docker Engine does not answer at {url}{why}",
            hint="It accepts connections, but hangs: see `journalctl -u docker` on this host."
            if hangs
            else "Is docker.service running, and is sandbox.docker in airlock.toml its socket?",
        ) from silent


@contextmanager
def connected(url: str, *, timeout: float = TIMEOUT) -> Iterator[Client]:
    """Yield a client, and close it afterwards. Raises as `connect`."""
    client = connect(url, timeout=timeout)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn every failure of the engine into a CannotStart: "Docker could not {what}"."""
    try:
        yield
    except AirlockError:
        raise
    except (EngineFailure, HTTPException, OSError) as failed:
        why = "it did not answer in time" if isinstance(failed, TimeoutError) else failed
        raise CannotStart(
            f"Docker could not {what}: {why}",
            hint="See the engine's log on this host: `journalctl -u docker`.",
        ) from failed


@contextmanager
def suppress_status(status: int) -> Iterator[None]:
    """Ignore an answer of the engine with this HTTP status: 404 is "there is none"."""
    try:
        yield
    except EngineFailure as answer:
        if answer.status != status:
            raise


def apparmor(client: Client) -> str | None:
    """Return the AppArmor profile that containers get, or None if this host has no AppArmor."""
    if not confinement.has_apparmor():
        return None
    with explained("report its security options"):
        return confinement.apparmor_profile(client.get("/info").get("SecurityOptions") or ())


def create(
    client: Client, spec: SandboxSpec, apparmor: str | None = None, holder: Holder | None = None
) -> str:
    """Create the container, not started, and return its id. `apparmor` is a profile's name.

    With `holder` it joins the network namespace of that container when it starts.
    """
    seccomp = confinement.profile()
    if holder is None:
        return create_container(client, spec, engine_body(spec, seccomp, apparmor))
    return create_container(client, spec, joined_body(spec, seccomp, apparmor, holder.container))


def create_holder(client: Client, spec: SandboxSpec, apparmor: str | None) -> str:
    """Create a holder, not started, and return its id."""
    return create_container(client, spec, holder_body(spec, confinement.profile(), apparmor))


def create_container(client: Client, spec: SandboxSpec, body: Mapping[str, Any]) -> str:
    """Create a container of this body, not started, and return its id. Raises CannotStart."""
    with explained("create the container"):
        return str(client.post("/containers/create", body, name=spec.name)["Id"])


def attach(client: Client, container_id: str, *, terminal: bool = False) -> socket.socket:
    """Return the raw stream of the container's output, in frames of the engine.

    With `terminal`, which the container has to have, there are no frames, and what is sent is its
    input. Call before `start`: bytes that arrive together with the response header are lost, and
    before the start there are none.
    """
    streams = {"stdout": 1, "stderr": 1, "stream": 1, **({"stdin": 1} if terminal else {})}
    with explained("attach to the container"):
        raw = client.stream(f"/containers/{container_id}/attach", **streams)
        raw.settimeout(None)
        return raw


def start(client: Client, container_id: str, name: str, holder: Holder | None = None) -> Running:
    """Start the container and return what it is on this host. Its entry waits at the start gate.

    `holder` is what it was created with.
    """
    state = _started(client, container_id, "the container")
    pid = state["State"]["Pid"]
    if holder is not None:
        address, gateway = holder.address, holder.gateway
    else:
        network = state["NetworkSettings"]["Networks"][NETWORK]
        address, gateway = network["IPAddress"], network["Gateway"]
    if not pid or not address or not gateway:
        raise CannotStart(
            f"the container ended at once (exit status {state['State']['ExitCode']})",
            hint="Does the image have /bin/sh and cat? Try `docker run --rm IMAGE /bin/sh -c "
            "true`.",
        )
    return Running(
        id=container_id, name=name, pid=pid, address=address, gateway=gateway,
        holder=holder.pid if holder else None,
    )  # fmt: skip


def start_beside(client: Client, container_id: str, what: str) -> int:
    """Start a container in another one's network; return its first process, 0 if it has ended."""
    return int(_started(client, container_id, what)["State"]["Pid"])


def _started(client: Client, container_id: str, what: str) -> Mapping[str, Any]:
    with explained(f"start {what}"):
        client.post(f"/containers/{container_id}/start")
        return dict(client.get(f"/containers/{container_id}/json"))


def outcome(
    client: Client, container_id: str, *, timeout: float = TIMEOUT
) -> tuple[int, bool] | None:
    """Wait for the container's end; return its exit status and whether it ran out of memory.

    None if there is no such container. Raises CannotStart, also if one of the two calls that this
    takes has no answer after `timeout` seconds.
    """
    client.close()  # an engine that is being stopped answers on an old connection, and no one else
    before, client.timeout = client.timeout, timeout
    try:
        with explained("report how the container ended"):
            client.post(f"/containers/{container_id}/wait")
            state = client.get(f"/containers/{container_id}/json")["State"]
            return int(state["ExitCode"]), bool(state["OOMKilled"])
    except CannotStart as failed:
        if getattr(failed.__cause__, "status", None) == NOT_FOUND:
            return None
        raise
    finally:
        client.timeout = before


def outcome_known(url: str, container: str) -> tuple[int, bool] | None:
    """Return as `outcome`, over a connection of its own; None also if the engine does not say."""
    with suppress(CannotStart), connected(url, timeout=_OUTCOME) as client:
        return outcome(client, container, timeout=_OUTCOME)
    return None


def remove(client: Client, name: str, *, timeout: float = TIMEOUT) -> bool:
    """Kill and remove a container with its volumes; return once it is removed.

    False if there was none. Raises CannotStart if it still exists after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    client.timeout = max(0.1, timeout)
    tries = 0
    with explained("remove the container"):
        while True:
            try:
                client.delete(f"/containers/{name}", force=True, v=True)
            except EngineFailure as refused:
                if refused.status == NOT_FOUND:
                    return tries > 0
                if refused.status != CONFLICT:  # another process is removing it
                    raise
            else:
                return True
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} is still being removed")
            tries += 1
            time.sleep(0.05)


def containers(client: Client) -> tuple[str, ...]:
    """Return the tokens of all jobs' containers on this host, running or not."""
    return tuple(dict.fromkeys(_labelled(client, LABEL)))  # a job may have several


def holders(client: Client) -> tuple[str, ...]:
    """Return the tokens of all holders on this host, running or not."""
    return _labelled(client, HOLDER_LABEL)


def _labelled(client: Client, label: str) -> tuple[str, ...]:
    with explained("list containers"):
        found = client.get("/containers/json", all=True, filters={"label": [label]})
        # A container that another program made has the labels of its image: any text.
        return tuple(filter(is_token, (container["Labels"][label] for container in found)))


def names(client: Client, token: str) -> tuple[str, ...]:
    """Return the names of a job's containers, running or not: its own, and those of services."""
    with explained("list containers"):
        found = client.get("/containers/json", all=True, filters={"label": [f"{LABEL}={token}"]})
        return tuple(container["Names"][0].removeprefix("/") for container in found)
