"""The engine of a developer's machine: whether it is there, may be used, and can be proven.

What is required of it, and why: docs/replay.md#engines
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import Options
from bootstrap.sandbox import engine
from bootstrap.sandbox.engine_client import Client
from bootstrap.sandbox.images import engine_images
from bootstrap.sandbox.model import Image
from bootstrap.sandbox.supervision.signals import Cancellation

DEFAULT = "unix:///var/run/docker.sock"
_UNIX = "unix://"


def url(option: str | None, process_env: Mapping[str, str]) -> str:
    """Return the engine that the developer means. Raises WrongConfiguration unless it is local."""
    named = option or process_env.get("DOCKER_HOST") or DEFAULT
    if not named.startswith(f"{_UNIX}/"):
        raise WrongConfiguration(
            f"Docker is at {named!r}, expected a socket of this machine such as {DEFAULT}",
            hint="A replay needs an engine on this machine: name its socket with --docker.",
        )
    return named


class _Whole(Client):
    """A client whose calls that change something are not interrupted.

    The engine goes on with what it was asked for, so that it would come after what clears.
    """

    cancellation: Cancellation | None = None

    def post(self, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - as the other
        """Have the engine do something, as the other client does."""
        with self.cancellation.waiting() if self.cancellation else nullcontext():
            return super().post(path, body, **query)


@contextmanager
def connected(socket: str, cancellation: Cancellation | None = None) -> Iterator[Client]:
    """Yield a client of an engine in whose containers a job can be shown to be isolated.

    A cancellation waits for what the client changes. Raises CannotStart if nothing answers,
    WrongConfiguration if this user may not use it, or if it is an engine of another kind.
    """
    _require_access(Path(socket.removeprefix(_UNIX)))
    with _answering(socket) as asked, engine.explained("report what it is"):
        wrong = unsuitable(asked.get("/info"), asked.get("/version"), os.uname().release)
    if wrong:
        raise WrongConfiguration(wrong, hint=_ENGINES)
    with engine.explained("answer"):
        client = _Whole(socket, timeout=engine.TIMEOUT)
    client.cancellation = cancellation
    with closing(client):
        yield client


@contextmanager
def _answering(socket: str) -> Iterator[Client]:
    try:
        client = engine.connect(socket)
    except CannotStart as silent:
        raise CannotStart(
            silent.problem,
            hint="Start it (`systemctl start docker`), or name the socket of another one with "
            "--docker. If it hangs, `journalctl -u docker` may say why.",
        ) from silent
    with closing(client):
        yield client


_ENGINES = (
    "Use Docker Engine as root runs it (`docker context use default`, or --docker): there the "
    "sandbox is the one of your agents. docs/replay.md#engines has the reasons."
)


def _require_access(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except PermissionError:
        mode = stat.S_IFSOCK  # of a directory above it: this user may not use what is there
    except OSError as absent:
        raise CannotStart(
            f"there is no Docker Engine at {path}: {absent.strerror}",
            hint="Install Docker Engine and start it (`systemctl start docker`), or name its "
            "socket with --docker.",
        ) from absent
    if not stat.S_ISSOCK(mode):
        raise WrongConfiguration(
            f"{path} is not a socket, so that no Docker Engine is there",
            hint="Name the engine's socket with --docker.",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise WrongConfiguration(
            f"uid {os.getuid()} may not use Docker's socket {path}",
            hint="Join its group (`sudo usermod --append --groups docker $USER`) and log in again. "
            "Who is in that group can become root on this machine.",
        )


def unsuitable(info: Mapping[str, Any], version: Mapping[str, Any], kernel: str) -> str:
    """Return why a job in this engine's containers cannot be shown to be isolated, or ""."""
    components = {str(one.get("Name", "")) for one in version.get("Components") or ()}
    options = {str(one).partition(",")[0] for one in info.get("SecurityOptions") or ()}
    if any("podman" in name.lower() for name in components):
        return "this is podman's socket, with which no replay was tested"
    if "Docker Desktop" in str(info.get("OperatingSystem", "")):
        return "this is Docker Desktop, whose containers run in a virtual machine"
    if "name=rootless" in options:
        return "this is rootless Docker, in which a job would not have a user of its own"
    if "name=selinux" in options:
        return "this Docker uses SELinux, under which a job cannot read its sandbox's files"
    if info.get("KernelVersion") != kernel:
        return f"this Docker runs on the kernel {info.get('KernelVersion')}, and this is {kernel}"
    return ""


def reference(found: ReplayInput, options: Options) -> str:
    """Return the image to run the job in. Raises WrongConfiguration if the input names none."""
    named = options.image or found.image
    if named:
        return named
    raise WrongConfiguration(
        f"{found.source} does not have the image that the job ran in",
        hint="Name it with --image, such as the one of sandbox.image on your hosts.",
    )


def image(client: Client, reference: str, *, note: Callable[[str], None]) -> Image:
    """Return the image, pulled without a login if it is not here. Raises CannotStart."""
    try:
        return engine_images.image_of(
            client, reference, "missing", login=lambda: None, progress=note
        )
    except AirlockError as failed:
        _, _, why = failed.problem.partition(": ")  # what follows "Docker could not …"
        raise CannotStart(
            f"the image {reference} is not on this machine, and Docker cannot pull it: "
            f"{why or failed.problem}",
            hint=f"`docker pull {reference}` uses your own login. If the registry no longer has "
            "it, name another one with --image; --compare then shows that difference.",
        ) from failed
