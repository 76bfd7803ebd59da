"""The service as launchers find it: each user of service.agents starts one without a job."""

from collections.abc import Mapping
from pathlib import Path

from bootstrap.doctor.model import Read, known
from bootstrap.doctor.read import as_user
from bootstrap.doctor.read.agent import launcher_of
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.host.config import Host

PATIENCE = 13.0  # seconds; a launcher waits 10 for the service to listen
# A command that the service does not know: it answers, runs no job and records none.
_COMMAND = "doctor"
_ANSWER = f"the launcher's arguments are {_COMMAND!r}"


def service(host: Read[Host], settings: Read[Mapping[str, str]]) -> str:
    """Return what shows that the service answers. Raises WrongConfiguration and CannotStart."""
    configured, launcher = known(host).service, launcher_of(settings)
    for name in configured.agents:
        _ask(name, launcher, configured.socket)
    return f"it answers {', '.join(configured.agents)} on {configured.socket}"


def _ask(name: str, launcher: Path, socket: Path) -> None:
    command = [str(launcher), "--socket", str(socket), _COMMAND]
    ended = as_user.outcome(name, command, timeout=PATIENCE)
    printed = " ".join(f"{ended.output} {ended.errors}".split())
    if ended.status == WrongConfiguration.exit_code and _ANSWER in printed:
        return
    raise CannotStart(
        f"a launcher of {name} ended with {ended.status} instead of an answer: {printed[:300]}",
        hint="See `systemctl status airlock.socket airlock` and `journalctl -u airlock`.",
    )
