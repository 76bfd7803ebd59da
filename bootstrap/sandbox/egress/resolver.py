"""A job's own resolver: a thread that answers what it can at once, and few that ask for the rest.

It listens in the job's network namespace. Its answers are for the job alone, and what it keeps of
them is bounded.
"""

import select
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from bootstrap.agent_api.workers import Workers
from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import messages, upstream
from bootstrap.sandbox.egress.messages import Found, Query, UselessError, Verdict
from bootstrap.sandbox.egress.table import FullError, Table
from bootstrap.sandbox.egress.use import NAMES_AT_MOST, Names
from bootstrap.server import Listening
from bootstrap.text import printable

if TYPE_CHECKING:
    from ipaddress import IPv4Address

PER_SECOND, BURST = 200.0, 1000.0  # queries
UNDER_WAY = 64  # lookups, of which
AT_A_TIME = 16  # are asked; the others wait
STREAMS = 4  # at a time
IDLE = 2.0  # seconds of a stream
PAUSE = 100  # milliseconds, when more arrives than is answered
LEAST, AFTER = 300, 60  # seconds for which an address is reached, and beyond the answer's TTL
CLOSING = 2.0  # seconds for the thread to end
_LARGEST = 4096  # bytes of a query
_AT_ONCE = 32  # datagrams before the streams have their turn

Reply = Callable[[bytes], object]


class Resolver:
    """Answers queries that arrive at two sockets, which it owns from now on."""

    def __init__(
        self,
        datagrams: socket.socket,
        listener: socket.socket,
        *,
        grant: EgressGrant,
        servers: Sequence[str],
        table: Table,
    ) -> None:
        self._grant = grant
        self._servers = servers
        self._table = table
        self.seen = Seen()
        self._rate = _Bucket()
        self._under_way = threading.BoundedSemaphore(UNDER_WAY)
        self._lookups = Workers(AT_A_TIME, waiting=UNDER_WAY, name="egress lookup")
        self._streams = Workers(STREAMS, waiting=2 * STREAMS, name="egress stream")
        self._waiting = threading.BoundedSemaphore(2 * STREAMS)
        self._datagrams, self._listener = datagrams, listener
        datagrams.setblocking(False)  # noqa: FBT003 - its only form
        listener.setblocking(False)  # noqa: FBT003
        self._stopped, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="egress", daemon=True)

    def start(self) -> None:
        """Begin to answer. Raises RuntimeError if this process can have no more threads."""
        try:
            self._thread.start()
        except RuntimeError:
            self._stop.close()
            self._close_sockets()
            raise

    def close(self) -> None:
        """Stop, whatever the job's programs wait for."""
        self._stop.close()
        self._thread.join(CLOSING)
        self._lookups.close(0.0)
        self._streams.close(0.0)

    def _serve(self) -> None:
        with selectors.PollSelector() as selector:  # it takes no descriptor
            for channel in (self._datagrams, self._stopped):
                selector.register(channel, selectors.EVENT_READ)
            listening = Listening(self._listener, selector)
            while True:
                ready = [key.fileobj for key, _ in selector.select(listening.patience(None))]
                if self._stopped in ready or not self._pause():
                    break
                with suppress(OSError):  # of one client
                    if self._datagrams in ready:
                        self._receive()
                    if self._listener in ready and (client := listening.accept()):
                        self._take(client)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for channel in (self._datagrams, self._listener, self._stopped):
            channel.close()

    def _pause(self) -> bool:
        """Read nothing for a moment if too much arrives; False if it is to stop meanwhile.

        This thread is not limited as the job is, and what the kernel discards costs nothing here.
        """
        poll = select.poll()
        poll.register(self._stopped, select.POLLIN)
        return self._rate.has_more() or not poll.poll(PAUSE)

    def _receive(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                wire, peer = self._datagrams.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            if not self._rate.allows():
                self.seen.note_over_limit()
                return
            self.answer(wire, partial(self._send, peer))

    def _send(self, peer: tuple[str, int], wire: bytes) -> None:
        with suppress(OSError):  # nobody waits for it any more
            self._datagrams.sendto(wire, peer)

    def _take(self, client: socket.socket) -> None:
        if not self._rate.allows() or not self._waiting.acquire(blocking=False):
            client.close()
            return
        try:
            self._streams.run(partial(self._serve_stream, client), instead=client.close)
        except RuntimeError:  # this process can have no more threads
            self._waiting.release()
            client.close()

    def _serve_stream(self, client: socket.socket) -> None:
        try:
            with client, suppress(OSError):
                while self._rate.allows():
                    wire = upstream.message_of(client, time.monotonic() + IDLE)
                    replies: list[bytes] = []
                    self._answer(wire, replies.append, stream=True)
                    if not replies:
                        return
                    client.settimeout(IDLE)
                    client.sendall(upstream.framed(replies[0]))
        finally:
            self._waiting.release()

    def answer(self, wire: bytes, reply: Reply) -> None:
        """Answer a datagram now, or later in another thread, or not at all."""
        self._answer(wire, reply, stream=False)

    def _answer(self, wire: bytes, reply: Reply, *, stream: bool) -> None:
        query = messages.parsed(wire)
        if query is None:
            if wrong := messages.malformed(wire):
                reply(wrong)
            return
        verdict = messages.judge(query, self._grant)
        if verdict is Verdict.REFUSED:
            self.seen.note_refused(query.name)
        if verdict not in (Verdict.ASK, Verdict.RELAY):
            reply(messages.unanswered(query, verdict))
        elif stream:  # in a thread of its own already
            self._look_up(query, verdict, wire, reply, stream=True)
        elif not self._begin(partial(self._later, query, verdict, wire, reply)):
            self.seen.note_over_limit()

    def _begin(self, lookup: Callable[[], None]) -> bool:
        if not self._under_way.acquire(blocking=False):
            return False
        try:
            self._lookups.run(lookup)
        except RuntimeError:  # this process can have no more threads
            self._under_way.release()
            return False
        return True

    def _later(self, query: Query, verdict: Verdict, wire: bytes, reply: Reply) -> None:
        try:
            self._look_up(query, verdict, wire, reply, stream=False)
        finally:
            self._under_way.release()

    def _look_up(
        self, query: Query, verdict: Verdict, wire: bytes, reply: Reply, *, stream: bool
    ) -> None:
        if verdict is Verdict.RELAY:
            relayed = upstream.relay(self._servers, wire, stream=stream)
            reply(relayed or messages.failed(query))
            return
        try:
            found = upstream.ask(self._servers, query.name, self._grant)
            self._table.allow(found.addresses, max(found.ttl, LEAST) + AFTER)
        except (UselessError, FullError, OSError) as failed:
            self.seen.note_unanswered(str(failed))
            reply(messages.failed(query))
            return
        self.seen.note_found(query.name, found)
        reply(messages.answer(query, found, found.ttl))


class Seen:
    """What was looked up, of each kind at most NAMES_AT_MOST names."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._astray: dict[str, str] = {}
        self._addresses: dict[str, set[IPv4Address]] = {}
        self._others = self._over_limit = self._unanswered = 0
        self._why = ""

    def note_refused(self, name: str) -> None:
        """Note a lookup of a name that is not on the list, in the letters of the job."""
        shown = printable(name, limit=255)
        with self._lock:
            if shown in self._refused or len(self._refused) < NAMES_AT_MOST:
                self._refused[shown] += 1
            else:
                self._others += 1

    def note_found(self, name: str, found: Found) -> None:
        """Note what a resolver answered."""
        name = name.lower()
        with self._lock:
            if name in self._asked or len(self._asked) < NAMES_AT_MOST:
                self._asked[name] += 1
                known = self._addresses.setdefault(name, set())
                known.update(found.addresses[: NAMES_AT_MOST - len(known)])
            if found.refused and len(self._astray) < NAMES_AT_MOST:
                self._astray[name] = ", ".join(sorted(set(found.refused.values())))

    def note_over_limit(self) -> None:
        """Note a query that gets no answer."""
        with self._lock:
            self._over_limit += 1

    def note_unanswered(self, why: str) -> None:
        """Note a lookup that failed."""
        with self._lock:
            self._unanswered += 1
            self._why = why

    def names(self, but: str = "") -> Names:
        """Return all of it, without the refusals of the name `but`."""
        with self._lock:
            refused = {name: times for name, times in self._refused.items() if name != but}
            return Names(
                asked=dict(self._asked), refused=refused,
                leads_astray=dict(self._astray), others=self._others,
                addresses={name: frozenset(found) for name, found in self._addresses.items()},
                over_limit=self._over_limit, unanswered=self._unanswered, why=self._why,
            )  # fmt: skip


class _Bucket:
    """How many queries are answered: PER_SECOND, and what was not used, up to BURST."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._left, self._before = BURST, now()
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Count one more, unless there are too many."""
        with self._lock:
            allowed = self._refilled() >= 1
            self._left -= allowed
            return allowed

    def has_more(self) -> bool:
        """Say whether one more would be allowed."""
        with self._lock:
            return self._refilled() >= 1

    def _refilled(self) -> float:
        now = self._now()
        self._left = min(BURST, self._left + (now - self._before) * PER_SECOND)
        self._before = now
        return self._left
