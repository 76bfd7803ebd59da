"""A headless Chromium, driven by WebDriver."""

import base64
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


class Browser:
    """One window."""

    def __init__(self, port: int, session: str) -> None:
        self._port = port
        self._session = session

    def open(self, url: str) -> None:
        call(self._port, "POST", f"/session/{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """Run JavaScript and return what it returns."""
        path = f"/session/{self._session}/execute/sync"
        return call(self._port, "POST", path, {"script": script, "args": []})

    def resize(self, width: int, height: int) -> None:
        path = f"/session/{self._session}/window/rect"
        call(self._port, "POST", path, {"width": width, "height": height})

    def screenshot(self) -> bytes:
        return base64.b64decode(call(self._port, "GET", f"/session/{self._session}/screenshot"))

    def printed(self) -> bytes:
        """Return the page as a PDF, as the browser prints it."""
        paper = {"page": {"width": 21.0, "height": 29.7}}
        path = f"/session/{self._session}/print"
        return base64.b64decode(call(self._port, "POST", path, paper))

    def emulate(self, command: str, **parameters: Any) -> None:
        """Send a command of the DevTools' domain Emulation."""
        path = f"/session/{self._session}/goog/cdp/execute"
        body = {"cmd": f"Emulation.{command}", "params": parameters}
        call(self._port, "POST", path, body)

    def press(self, key: str) -> None:
        """Press and release one key, where the focus is."""
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        call(self._port, "POST", f"/session/{self._session}/actions", body)

    def errors(self) -> list[str]:
        """Return what the console complains about; the browser's own pages do not count."""
        path = f"/session/{self._session}/se/log"
        entries = call(self._port, "POST", path, {"type": "browser"})
        return [one["message"] for one in entries if not one["message"].startswith("chrome://")]


@contextmanager
def browser() -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if not driver:
        pytest.skip("no chromedriver: tests/lab/setup installs it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        tempfile.TemporaryDirectory(prefix="airlock-browser-") as profile,
        subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL) as process,
    ):
        try:
            options = {"args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
            asked = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = _patient(port, {"capabilities": {"alwaysMatch": asked}})
            yield Browser(port, made["sessionId"])
            call(port, "DELETE", f"/session/{made['sessionId']}")
        finally:
            process.terminate()
            process.wait(20)


def _patient(port: int, body: dict[str, Any]) -> Any:
    deadline = time.monotonic() + 60
    while True:
        try:
            return call(port, "POST", "/session", body)
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def call(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        value = json.loads(connection.getresponse().read())["value"]
    finally:
        connection.close()
    assert not (isinstance(value, dict) and "error" in value), value
    return value
