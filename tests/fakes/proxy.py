"""An HTTP proxy on the loopback that records what it is asked to CONNECT to.

It resolves no name and connects only to the servers that a test names.
"""

import socket
import socketserver
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import parse_headers
from typing import Self, cast


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request to the proxy."""

    method: str
    target: str  # host:port of a CONNECT, else the whole URL
    authorization: str | None


class Proxy:
    """Tunnels to `servers`, by host:port; `authorization` is the header that it wants, if any."""

    def __init__(
        self, servers: Mapping[str, tuple[str, int]], *, authorization: str | None = None
    ) -> None:
        self.asked: list[Asked] = []
        self.servers = dict(servers)
        self.authorization = authorization
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def targets(self) -> list[str]:
        """What it was asked for, in order."""
        return [f"{asked.method} {asked.target}" for asked in self.asked]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    proxy: Proxy


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        proxy = cast("_Server", self.server).proxy
        method, target, _ = self.rfile.readline().decode("latin-1").split(" ", 2)
        authorization = parse_headers(self.rfile).get("Proxy-Authorization")
        proxy.asked.append(Asked(method=method, target=target, authorization=authorization))
        if authorization != proxy.authorization:
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        elif method != "CONNECT" or target not in proxy.servers:
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        else:
            with socket.create_connection(proxy.servers[target], 10) as server:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                upwards = threading.Thread(
                    target=_copy, args=(self.connection, server), daemon=True
                )
                upwards.start()
                _copy(server, self.connection)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
