"""What a job's log says about its service containers."""

from collections.abc import Iterator, Mapping

from bootstrap.log import JobLog
from bootstrap.policy.services import ServiceContainer
from bootstrap.policy.wording import size
from bootstrap.sandbox.companions.output import Output
from bootstrap.sandbox.companions.watch import Ending
from bootstrap.text import counted

LINES = 100  # of each service's output, in the job's log
_KILLED = 137  # 128 + SIGKILL
_SLOWED = 3.0  # seconds in which a service waited for its log: fewer are not worth a line


def sentences(name: str, service: ServiceContainer, ending: Ending) -> Iterator[str]:
    """Yield a sentence for each thing about a service that may explain a job's failure."""
    limits = f"allow.services.{name}.limits of the rule"
    if ending.early:
        yield f"the service {name} ended while the job ran, with {_status(ending)}"
    if ending.out_of_memory or ending.used.killed:
        yield (
            f"the service {name} reached its limit of memory, {size(service.memory)}, and the "
            f"kernel killed a process of it: {limits} sets it"
        )
    if ending.used.refused_forks:
        yield (
            f"the service {name} reached its limit of {service.pids} processes and threads: "
            f"{limits} sets it"
        )
    for path in ending.used.full:
        yield (
            f"the directory {path} of the service {name} was full: it holds half of its memory, "
            f"which {limits} sets"
        )
    if ending.slowed >= _SLOWED:
        yield (
            f"the service {name} was slowed for {ending.slowed:.0f} s, because it printed more "
            f"than the 6 MB a second that are copied: have it print less, by command or env of "
            f"allow.services.{name}"
        )


def _status(ending: Ending) -> str:
    if ending.code is None:
        return "an exit status that Docker did not report"
    return f"exit status {ending.code}{' (killed)' if ending.code == _KILLED else ''}"


def shown(services: Mapping[str, tuple[ServiceContainer, Output, Ending]], log: JobLog) -> None:
    """Print the ends of the services' logs, each in a group, and then what went wrong with them."""
    for name, (_, output, _) in services.items():
        log.group(f"Service {name}: the end of its log")
        lines = output.last(LINES, log.masked)
        for line in lines:
            log.note(line)
        if not lines:
            log.note("it printed nothing")
    log.group("Airlock")
    log.note(f"{counted(len(services), 'service container')} ended: {', '.join(services)}")
    for name, (service, _, ending) in services.items():
        for sentence in sentences(name, service, ending):
            log.alert(f"{sentence}. The exit status is the job's own")
