"""Service containers of a recorded job: a replay starts none, and says so."""

from bootstrap.replay.inputs.from_record import read
from bootstrap.replay.inputs.needed import summary


def record(grant: object) -> dict[str, object]:
    return {"schema": 3, "env": {}, "events": [{"event": "admitted", "grant": grant}]}


def test_a_replay_says_which_services_it_does_not_start() -> None:
    found = read(record({"services": {"redis": {}, "postgres": {}}}), "record.json")
    (line,) = summary(found)
    assert line == (
        "a replay starts no service containers: postgres, redis of the rule cannot be reached"
    )


def test_records_without_services_and_older_ones_have_no_such_line() -> None:
    grants: tuple[object, ...] = ({"services": {}}, {}, None, {"services": ["odd"]})
    for grant in grants:
        assert summary(read(record(grant), "record.json")) == ()
