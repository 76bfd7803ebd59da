"""The instance metadata service as this host reaches it: tokens, and how far they travel.

An answer to PUT has the instance's HttpPutResponseHopLimit as its time to live. So a connection
that takes only packets with more than one hop left gets that answer only if the limit is above 1,
in which case a container would get it too.
"""

import http.client
import socket
from contextlib import closing
from urllib.parse import urlsplit

from bootstrap.aws.client import METADATA
from bootstrap.doctor.snapshot import Metadata

TIMEOUT = 2.0  # seconds for one answer, which takes less than a millisecond
_FAR = 0.7  # seconds for the answer that does not come where the hop limit is 1
_IP_MINTTL = 21  # <linux/in.h>; Python has no name for it
_LIFETIME = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}


def metadata(url: str = METADATA) -> Metadata:
    """Return what the service at `url` answers. Raises OSError if nothing answers there."""
    open_status = _status(url, "GET", "/latest/meta-data/")
    tokens = _status(url, "PUT", "/latest/api/token", _LIFETIME)
    return Metadata(
        answers_without_token=open_status == http.client.OK,
        gives_tokens=tokens == http.client.OK,
        passes_a_hop=tokens == http.client.OK and _passes_a_hop(url),
    )


def _status(
    url: str, method: str, path: str, headers: dict[str, str] | None = None, *, hops: int = 0
) -> int:
    """Return the status of an answer that has come with at least so many hops left."""
    place = urlsplit(url)
    timeout = _FAR if hops else TIMEOUT
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
    with closing(connection):
        connection.connect()
        if hops:
            connection.sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, hops)
        connection.request(method, path, headers=headers or {})
        return connection.getresponse().status


def _passes_a_hop(url: str) -> bool:
    try:
        return _status(url, "PUT", "/latest/api/token", _LIFETIME, hops=2) == http.client.OK
    except TimeoutError:
        return False
