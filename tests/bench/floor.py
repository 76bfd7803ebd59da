"""The least that a job can take here: the calls of the Engine API alone, over a kept connection."""

import subprocess
import time
from typing import Any

from docker import APIClient

from tests.bench.ways import FIRST, Ways


def floor(ways: Ways, rounds: int) -> list[float]:
    """Create, attach to and start the container of a bare job; return the seconds to its output."""
    client = APIClient(base_url=ways.made.lab.docker, version="auto")
    try:
        body = _body(client, ways)
        return [_once(client, body) for _ in range(rounds + 1)][1:]
    finally:
        client.close()


def _once(client: APIClient, body: dict[str, Any]) -> float:
    began = time.monotonic()
    container = client.create_container_from_config(body)["Id"]  # type: ignore[no-untyped-call]
    stream = client.attach_socket(container, {"stdout": 1, "stderr": 1, "stream": 1})
    client.start(container)
    received = stream._sock.recv(4096)  # noqa: SLF001 - docker-py hides it
    took = time.monotonic() - began
    if FIRST not in received:
        raise RuntimeError(f"the first output of the container is {received!r}")
    client.wait(container)
    stream._sock.close()  # noqa: SLF001
    client.remove_container(container, force=True)
    return took


def _body(client: APIClient, ways: Ways) -> dict[str, Any]:
    """Return the request that the docker program makes for a bare job."""
    run = ways.bare("true", 0).command
    create = ["create" if part == "run" else part for part in run if part != "--rm"]
    container = subprocess.run(create, capture_output=True, text=True, check=True).stdout.strip()
    described = client.inspect_container(container)
    client.remove_container(container)
    attached = {"AttachStdout": True, "AttachStderr": True}
    return {**described["Config"], **attached, "HostConfig": described["HostConfig"]}
