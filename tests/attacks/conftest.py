"""Fixtures of most attacks: a fleet, an attacker's job, and the same without protection."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.attacker import Attacker, Unprotected, attacker, unprotected_container
from tests.attacks.ssh_agent import Servers, two_servers
from tests.lab.lab import Fleet, Lab, fleet


@pytest.fixture(scope="module")
def shared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(lab, tmp_path_factory.mktemp("attacks") / "fleet") as made:
        yield made


@pytest.fixture(scope="module")
def sandbox(shared: Fleet) -> Iterator[Attacker]:
    with attacker(shared) as made:
        yield made


@pytest.fixture(scope="module")
def unprotected(shared: Fleet, sandbox: Attacker) -> Iterator[Unprotected]:
    with unprotected_container(shared) as made:
        yield made


@pytest.fixture
def servers(fleet: Fleet, tmp_path: Path) -> Iterator[Servers]:
    with two_servers(fleet, tmp_path) as made:
        yield made
