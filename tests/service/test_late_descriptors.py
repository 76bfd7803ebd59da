"""Descriptors that a client sends beside its signals are never received, nor closed by a worker.

Closing one may take as long as the client likes (a socket that lingers), and signals interrupt a
worker wherever it is: also where it holds a lock that all jobs of the host wait for.
"""

import os
import select
import signal
import socket
import struct
import subprocess
import sys

from tests.service.test_hostile_clients import _fill

WORKER = """
import socket, sys, time
from bootstrap.service.launcher import Launcher

with Launcher(socket.socket(fileno=int(sys.argv[1]))).signals() as requested:
    print("works", flush=True)
    while requested.received is None:
        time.sleep(0.05)
    time.sleep(0.2)
    print("works on", requested.abandoned, flush=True)
    sys.stdin.read()
"""
AT_MOST = 5.0  # seconds, of the ten minutes for which the socket lingers


def lingering() -> socket.socket:
    """Return a connection whose other side never reads: whoever closes it last waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.detach()  # stays open as long as this process
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600))
    made.settimeout(0)
    assert _fill(made) > 0
    return made


def test_worker_does_not_close_what_a_client_sends_beside_a_signal() -> None:
    client, its = socket.socketpair()
    with client, subprocess.Popen(
        [sys.executable, "-c", WORKER, str(its.fileno())], pass_fds=[its.fileno()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        its.close()  # what it has not received is closed by its end, which does not linger
        try:
            assert worker.stdout
            assert worker.stdout.readline() == "works\n"
            sent = lingering()
            worker.send_signal(signal.SIGSTOP)  # until it is the last to have it
            socket.send_fds(client, [bytes([signal.SIGTERM])], [sent.fileno()])
            os.close(sent.detach())
            worker.send_signal(signal.SIGCONT)
            assert select.select([worker.stdout], [], [], AT_MOST)[0], "it waits for the client"
            assert worker.stdout.readline() == "works on True\n"
        finally:
            worker.kill()
