"""Docker, with network.py: no other module calls it.

Never its archive API, never exec: both run on the job's files.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from bootstrap.errors import AirlockError, CannotStart
from bootstrap.sandbox import confinement
from bootstrap.sandbox.model import Running, SandboxSpec
from bootstrap.sandbox.plan import LABEL, NETWORK, engine_body

if TYPE_CHECKING:
    from docker import APIClient

_OLDEST = "1.41"  # API of Debian 12's docker.io; every newer engine reports its own

TIMEOUT = 60  # seconds for any one call to the engine; fractions work too, whatever its types say


def connect(url: str, *, timeout: float = TIMEOUT) -> "APIClient":
    """Return a client of the engine at `url`; each of its calls may take `timeout` seconds.

    Raises CannotStart if the engine does not answer.
    """
    from docker import APIClient  # noqa: PLC0415 - 0.2 s that a refused job need not wait for
    from docker.errors import DockerException  # noqa: PLC0415
    from requests.exceptions import RequestException, Timeout  # noqa: PLC0415

    try:
        # The url is explicit: from_env would follow DOCKER_HOST and ~/.docker.
        return _agreed(APIClient(base_url=url, version=_OLDEST, timeout=cast("int", timeout)))
    except (DockerException, RequestException) as silent:
        hangs = isinstance(silent, Timeout)
        why = f" within {timeout:.0f} s" if hangs else f": {silent}"
        raise CannotStart(
            f"Docker Engine does not answer at {url}{why}",
            hint="It accepts connections, but hangs: see `journalctl -u docker` on this host."
            if hangs
            else "Is docker.service running, and is sandbox.docker in airlock.toml its socket?",
        ) from silent


def _agreed(client: "APIClient") -> "APIClient":
    """Have the client use the newest API of its engine, and return it.

    docker-py's own way is to ask for /version, for which some engines run two programs.
    """
    client.trust_env = False  # requests would look for proxies in every call
    answer = client.get(f"{client.base_url}/_ping", timeout=client.timeout)
    answer.raise_for_status()
    vars(client)["_version"] = answer.headers.get("API-Version", _OLDEST)  # has no setter
    return client


@contextmanager
def connected(url: str, *, timeout: float = TIMEOUT) -> "Iterator[APIClient]":
    """Yield a client, and close it afterwards. Raises as `connect`."""
    client = connect(url, timeout=timeout)
    try:
        yield client
    finally:
        close(client)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn every failure of the engine into a CannotStart: "Docker could not {what}"."""
    from docker.errors import DockerException  # noqa: PLC0415
    from requests.exceptions import RequestException, Timeout  # noqa: PLC0415

    try:
        yield
    except AirlockError:
        raise
    except (DockerException, RequestException, OSError) as failed:
        why = "it did not answer in time" if isinstance(failed, Timeout) else failed
        raise CannotStart(
            f"Docker could not {what}: {why}",
            hint="See the engine's log on this host: `journalctl -u docker`.",
        ) from failed


@contextmanager
def suppress_status(status: int) -> Iterator[None]:
    """Ignore an answer of the engine with this HTTP status: 404 is "there is none"."""
    from docker.errors import APIError  # noqa: PLC0415

    try:
        yield
    except APIError as answer:
        if answer.status_code != status:
            raise


@contextmanager
def suppress_conflict(api_error: type[Exception]) -> Iterator[None]:
    """Ignore the answer 409: another process is doing the same."""
    try:
        yield
    except api_error as conflict:
        if getattr(conflict, "status_code", None) != 409:
            raise


def apparmor(client: "APIClient") -> str | None:
    """Return the AppArmor profile that containers get, or None if this host has no AppArmor."""
    if not confinement.has_apparmor():
        return None
    with explained("report its security options"):
        return confinement.apparmor_profile(client.info().get("SecurityOptions") or ())


def create(client: "APIClient", spec: SandboxSpec, apparmor: str | None = None) -> str:
    """Create the container, not started, and return its id. `apparmor` is a profile's name."""
    body = engine_body(spec, confinement.profile(), apparmor)
    with explained("create the container"):
        return str(client.create_container_from_config(body, spec.name)["Id"])


def attach(client: "APIClient", container_id: str) -> socket.socket:
    """Return the raw stream of the container's output, in frames of the engine.

    Call before `start`: docker-py loses bytes that arrive together with the response header
    (docker-py#2466), and before the start there are none.
    """
    with explained("attach to the container"):
        params = {"stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
        stream = client.attach_socket(container_id, params)
        raw: socket.socket = stream._sock  # noqa: SLF001 - a SocketIO hides the descriptor
        raw.settimeout(None)
        return raw


def start(client: "APIClient", container_id: str, name: str) -> Running:
    """Start the container and return what it is on this host. Its entry waits at the start gate."""
    with explained("start the container"):
        client.start(container_id)
        state = client.inspect_container(container_id)
    network = state["NetworkSettings"]["Networks"][NETWORK]
    pid, address, gateway = state["State"]["Pid"], network["IPAddress"], network["Gateway"]
    if not pid or not address or not gateway:
        raise CannotStart(
            f"the container ended at once (exit status {state['State']['ExitCode']})",
            hint="Does the image have /bin/sh and cat? Try `docker run --rm IMAGE /bin/sh -c "
            "true`.",
        )
    return Running(id=container_id, name=name, pid=pid, address=address, gateway=gateway)


def outcome(
    client: "APIClient", container_id: str, *, timeout: float = TIMEOUT
) -> tuple[int, bool] | None:
    """Wait for the container's end; return its exit status and whether it ran out of memory.

    None if there is no such container. Raises CannotStart, also if one of the two calls that this
    takes has no answer after `timeout` seconds.
    """
    from docker.errors import NotFound  # noqa: PLC0415

    before, client.timeout = client.timeout, cast("int", timeout)
    try:
        with explained("report how the container ended"):
            client.wait(container_id, timeout=client.timeout)
            state = client.inspect_container(container_id)["State"]
            return int(state["ExitCode"]), bool(state["OOMKilled"])
    except CannotStart as failed:
        if isinstance(failed.__cause__, NotFound):
            return None
        raise
    finally:
        client.timeout = before


def remove(client: "APIClient", name: str, *, timeout: float = TIMEOUT) -> bool:
    """Kill and remove a container with its volumes; return once it is removed.

    False if there was none. Raises CannotStart if it still exists after `timeout` seconds.
    """
    from docker.errors import APIError, NotFound  # noqa: PLC0415

    deadline = time.monotonic() + timeout
    client.timeout = cast("int", max(0.1, timeout))
    tries = 0
    with explained("remove the container"):
        while True:
            try:
                with suppress_conflict(APIError):  # another process is removing it
                    client.remove_container(name, force=True, v=True)
                    return True
            except NotFound:
                return tries > 0
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} is still being removed")
            tries += 1
            time.sleep(0.05)


def containers(client: "APIClient") -> tuple[str, ...]:
    """Return the tokens of all of Airlock's containers on this host, running or not."""
    with explained("list containers"):
        found = client.containers(all=True, filters={"label": LABEL})
        return tuple(container["Labels"][LABEL] for container in found)


def close(client: "APIClient") -> None:
    """Drop the connections."""
    with suppress(OSError):
        client.close()
