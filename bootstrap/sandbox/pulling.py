"""What the engine tells while it pulls an image, in one line now and then."""

from collections.abc import Mapping
from typing import Any

EVERY = 5.0  # seconds between two lines
_DONE = frozenset({"Pull complete", "Already exists"})
_MB = 1_000_000


class Pulling:
    """The state of one pull, from the engine's stream of events. `now` is in seconds."""

    def __init__(self, image: str, now: float) -> None:
        self._image = image
        self._began = self._told = now
        self._layers: dict[str, bool] = {}  # layer -> is it here
        self._bytes: dict[str, tuple[int, int]] = {}
        self.digest: str | None = None

    def heard(self, event: Mapping[str, Any], now: float) -> str | None:
        """Take one event in; return a line if it is time for one."""
        status, layer = str(event.get("status", "")), event.get("id")
        if status.startswith("Digest: "):
            self.digest = status.removeprefix("Digest: ")
        elif layer and not status.startswith("Pulling from"):
            self._layers[layer] = self._layers.get(layer, False) or status in _DONE
            if status == "Downloading":
                detail = event.get("progressDetail") or {}
                self._bytes[layer] = (int(detail.get("current", 0)), int(detail.get("total", 0)))
        if now - self._told < EVERY:
            return None
        self._told = now
        return f"pulling {self._image}: {self._progress()}"

    def end(self, now: float) -> str:
        """Say what was pulled, and how long that took."""
        return f"pulled {self._image} in {now - self._began:.1f} s: {self.digest or 'no digest'}"

    def _progress(self) -> str:
        here = sum(self._layers.values())
        done, total = map(sum, zip(*self._bytes.values(), strict=True)) if self._bytes else (0, 0)
        size = f", {done // _MB} of {total // _MB} MB" if total else ""
        return f"{here} of {len(self._layers)} layers{size}"
