"""On a good host every check is ok, and doctor changes nothing."""

from pathlib import Path

import pytest

from tests.doctor.hosts import OF_THE_LAB, good_host
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab


def test_all_is_ok_on_a_good_host(lab: Lab, tmp_path: Path) -> None:
    with good_host(lab, tmp_path / "host") as host:
        wrong = host.wrong()
        assert not wrong, "\n".join(map(str, wrong.values()))
        status, shown = host.doctor()
        for one in shown["findings"]:
            print(
                one["check"], one["status"], one["seen"], one["fix"], *one["details"], sep="\n   "
            )
