"""A job's resolver whose process, or whose host, has no descriptor left."""

import socket

import dns.message

from tests.lab.descriptors import none_free, share_of_processor
from tests.lab.engine import eventually
from tests.sandbox.egress.served import JOBS, Client, with_client
from tests.sandbox.egress.test_resolver_limits import asks, needs_root


@needs_root
def test_without_descriptors_it_waits_and_then_goes_on() -> None:
    """A stream that cannot be accepted stays, and would wake the thread without end."""
    refused = dns.message.make_query("secret.example", "A").to_wire()

    def work(job: Client) -> tuple[bool, int, bool]:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel,
            socket.create_connection((JOBS, 53)) as first, socket.socket() as stream,
        ):  # fmt: skip
            assert asks(first)
            channel.settimeout(6)
            channel.connect((JOBS, 53))
            with none_free():
                stream.connect((JOBS, 53))
                waits = share_of_processor("egress") < 0.2
                channel.send(refused)
                answered = len(channel.recv(512))
            eventually(lambda: asks(stream), "it is accepted", 5)
        return waits, answered, job.finds("git.example.com")[0] == "NOERROR"

    waits, answered, goes_on = with_client(work)
    assert waits
    assert answered
    assert goes_on
