"""`airlock serve`: the resident service, which runs each job in a worker of its own."""

import resource
from collections.abc import Callable, Mapping
from pathlib import Path

from bootstrap import __version__
from bootstrap.errors import AirlockError
from bootstrap.host import config
from bootstrap.service import preload, upgrade
from bootstrap.service.configuration import Configuration
from bootstrap.service.journal import Journal, without_waiting
from bootstrap.service.listener import inherited, listener, resumed
from bootstrap.service.loop import End, Service
from bootstrap.service.operations import Operations
from bootstrap.service.refusing import refuse_all
from bootstrap.service.upgrade import State
from bootstrap.service.workers import Workers
from bootstrap.text import counted

DESCRIPTORS = 8192
_NO_ROOT = "Start it by systemd (agent-config/systemd), or as root."


def serve(*, config_path: Path, process_env: Mapping[str, str], check: bool) -> int:
    """Serve launchers until SIGTERM or SIGINT, and return 0; SIGHUP starts this program anew.

    With `check`, only load everything that is needed for that. Jobs that run go on when this ends,
    however it does. If it cannot start, the launchers that wait for it learn why.
    """
    before = upgrade.taken_over(process_env)
    try:
        return _serve(config_path, process_env, before, check=check)
    except AirlockError as why:
        listening = inherited(process_env, before.listener if before else ())
        if listening and not check:
            refuse_all(listening, why)
        raise


def _serve(
    config_path: Path, process_env: Mapping[str, str], before: State | None, *, check: bool
) -> int:
    config.require_root(_NO_ROOT)
    configuration = Configuration(config_path)
    host = configuration.host()
    preload.load(host)
    if check:
        return 0
    _raise_limit()
    workers = Workers()
    if before:
        listening = resumed(host.service.socket, before.listener)
        for pid, uid in before.workers:
            workers.add(pid, uid)
    else:
        listening = listener(host.service.socket, configuration.agents.gid, process_env)
    journal = Journal(without_waiting(2))
    journal.mask(*host.secrets)
    text = counted(len(workers), "worker")
    journal.note(f"version {__version__} serves {listening.path}, with {text} running")
    operations = Operations(config_path, host, process_env, journal, workers)
    service = Service(
        listening, configuration, chores=operations, log=journal.note, workers=workers
    )
    return _until_stopped(service, process_env, journal.note)


def _until_stopped(
    service: Service, process_env: Mapping[str, str], log: Callable[[str], object]
) -> int:
    while True:
        end = service.run()
        log(f"{end.value}, with {counted(len(service.state().workers), 'worker')} running")
        if end is End.STOPPED:
            return 0
        try:
            upgrade.start_anew(service.state(), process_env)
        except OSError as failed:
            log(f"it cannot be started anew, and goes on as it is: {failed}")


def _raise_limit() -> None:
    """Allow one descriptor for each worker and verdict, and some."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(most, DESCRIPTORS)), most))
