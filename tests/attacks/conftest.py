"""What most attacks need: a fleet, an attacker's job in it, and the same without the protection."""

from collections.abc import Iterator

import pytest

from tests.attacks.room import Attacker, Unprotected, attacker, unprotected
from tests.lab.lab import Fleet, Lab, fleet


@pytest.fixture(scope="module")
def shared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(lab, tmp_path_factory.mktemp("attacks") / "fleet") as made:
        yield made


@pytest.fixture(scope="module")
def room(shared: Fleet) -> Iterator[Attacker]:
    with attacker(shared) as made:
        yield made


@pytest.fixture(scope="module")
def naked(shared: Fleet, room: Attacker) -> Iterator[Unprotected]:
    with unprotected(shared) as made:
        yield made
