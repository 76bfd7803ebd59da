"""The progress of pulling an image, as a line every few seconds."""

from collections.abc import Mapping
from typing import Any

EVERY = 5.0  # seconds between two lines
_PULLED = "Pull complete"
_DONE = frozenset({_PULLED, "Already exists"})
_MB = 1_000_000


class PullProgress:
    """The state of one pull, from the engine's events. `now` is in seconds of one clock."""

    def __init__(self, image: str, now: float) -> None:
        self._image = image
        self._began = self._reported = now
        self._layers: dict[str, bool] = {}  # layer -> is it on this host
        self._bytes: dict[str, tuple[int, int]] = {}
        self.digest: str | None = None
        self.downloaded = False  # whether this host lacked a layer

    def received(self, event: Mapping[str, Any], now: float) -> str | None:
        """Add one event; return a line if the last one is EVERY seconds ago."""
        status, layer = str(event.get("status", "")), event.get("id")
        if status.startswith("Digest: "):
            self.digest = status.removeprefix("Digest: ")
        elif layer and not status.startswith("Pulling from"):
            self._layers[layer] = self._layers.get(layer, False) or status in _DONE
            self.downloaded |= status == _PULLED
            if status == "Downloading":
                detail = event.get("progressDetail") or {}
                self._bytes[layer] = (int(detail.get("current", 0)), int(detail.get("total", 0)))
        if now - self._reported < EVERY:
            return None
        self._reported = now
        return f"pulling {self._image}: {self._progress()}"

    def end(self, now: float) -> str:
        """Return the last line: what was pulled, and how long it took."""
        return f"pulled {self._image} in {now - self._began:.1f} s: {self.digest or 'no digest'}"

    def _progress(self) -> str:
        complete = sum(self._layers.values())
        loaded, total = map(sum, zip(*self._bytes.values(), strict=True)) if self._bytes else (0, 0)
        size = f", {loaded // _MB} of {total // _MB} MB" if total else ""
        return f"{complete} of {len(self._layers)} layers{size}"
