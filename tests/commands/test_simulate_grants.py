"""`airlock policy simulate`: what is compared of grants, and which directories it takes."""

from pathlib import Path

import pytest

from bootstrap.errors import WrongConfiguration
from tests.commands.test_policy import policy
from tests.commands.test_simulate import changes, proposed, rules, simulated, store
from tests.policy.samples import ROLE

__all__ = ["store"]  # a fixture


def test_a_grant_is_compared_in_words(store: Path) -> None:
    limits = "limits: {memory: 8GiB}, session: {duration: 2h}"
    new = proposed(
        store, f"name: deploy, when: {{branch: main}}, allow: {{{limits}}}", "name: rest, allow: {}"
    )
    ((_, _, text),) = changes(simulated(new, against=store)[1])
    assert text == "duration: 1h -> 2h; limits.memory: the host's default -> 8GiB"


def test_a_rule_that_begins_to_limit_the_agent_api_does_not_seem_to_grant_it(store: Path) -> None:
    api = "name: deploy, when: {branch: main}, allow: {agent-api: {oidc-audiences: a}}"
    new = proposed(store, api, "name: rest, allow: {}")
    ((_, _, text),) = changes(simulated(new, against=store)[1])
    assert text == "agent-api: all that the job's own token may do -> oidc-audiences: a"


def test_a_rule_that_begins_to_list_what_jobs_reach_does_not_seem_to_grant_it(store: Path) -> None:
    listed = "name: deploy, when: {branch: main}, allow: {egress: {hosts: a.example}}"
    new = proposed(store, listed, "name: rest, allow: {}")
    ((_, _, text),) = changes(simulated(new, against=store)[1])
    assert text == "egress: internet -> hosts: a.example"


def beside(host: str, *tags: str) -> tuple[str, str]:
    """Return rules that have builds, a list of what jobs reach, and a service for each tag."""
    env = "x" * 200
    services = ", ".join(
        f"s{number}: {{image: 'ci/db:{tag}', env: {{A: {env}}}, command: [db, '']}}"
        for number, tag in enumerate(tags)
    )
    allow = f"builds: buildkit, egress: {{hosts: {host}}}, services: {{{services}}}"
    return f"name: deploy, when: {{branch: main}}, allow: {{{allow}}}", "name: rest, allow: {}"


def test_of_services_and_egress_only_what_differs_is_shown(store: Path) -> None:
    """All of several services are longer than what is shown of one difference."""
    (store / "storefront.yaml").write_text(rules(*beside("a.example", "1", "1", "1")))
    new = proposed(store, *beside("b.example", "1", "2", "1"))
    ((_, _, text),) = changes(simulated(new, against=store)[1])
    assert text == "egress.hosts: a.example -> b.example; services.s1.image: ci/db:1 -> ci/db:2"
    (store / "storefront.yaml").write_text(rules(*beside("a.example", "1")))
    new = proposed(store, *beside("a.example"))
    ((_, _, text),) = changes(simulated(new, against=store)[1])
    assert text.startswith("services.s0: image: ci/db:1, env: A: xxx")
    assert text.endswith(", command: db '' -> none")


def test_grants_that_no_record_holds_are_counted(store: Path) -> None:
    new = proposed(
        store, f"name: deploy, when: {{branch: main}}, allow: {{role: '{ROLE}'}}",
        "name: rest, allow: {}",
    )  # fmt: skip
    status, document = simulated(new)
    assert (status, document["unchanged"], document["grants-not-compared"]) == (0, 6, 5)
    assert simulated(new, against=store)[1]["grants-not-compared"] == 0
    done = policy("simulate", new, "--records", store.parent / "records")
    assert "of 5 jobs no record holds what they received: only their rules were compared" in (
        done.stdout
    )
    assert "--against DIR compares whole grants" in done.stdout


@pytest.mark.parametrize("side", ["directory", "against"])
def test_a_directory_that_does_not_exist_is_an_error(store: Path, side: str) -> None:
    absent = store.parent / "absent"
    with pytest.raises(WrongConfiguration, match="absent cannot be read: No such file"):
        simulated(absent if side == "directory" else store,
                  against=absent if side == "against" else None,
                  records=store.parent / "records")  # fmt: skip


def test_a_record_that_cannot_be_read_may_change(store: Path) -> None:
    """A decision that nobody looked at is not one that stays."""
    (store.parent / "records/junk.json").write_text("{")
    status, document = simulated(store)
    assert (status, document["unchanged"], document["jobs"]) == (1, 6, 6)
    done = policy("simulate", store, "--records", store.parent / "records")
    assert done.stdout.splitlines()[-1].endswith("0 undecided; 1 file passed over")
    for path in (store.parent / "records").glob("0193*"):
        path.unlink()
    with pytest.raises(WrongConfiguration, match="holds no record of a job") as raised:
        simulated(store)
    (detail,) = raised.value.details
    assert detail.startswith(f"{store.parent}/records/junk.json: Expecting")
