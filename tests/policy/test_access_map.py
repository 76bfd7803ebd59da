"""The data of the access map: complete, compact, and nothing in them is markup."""

import base64
import gzip
import json
import re
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.access_map import data, notes
from bootstrap.policy.accounts import account_names
from bootstrap.policy.catalogue import Catalogue, Unreadable, accesses
from bootstrap.policy.model import Policy
from bootstrap.policy.parse import parse, parse_guardrails
from bootstrap.policy.report import Parts, page
from tests.policy import large
from tests.policy.given import policy

PARTS = Parts(
    html="<style>$css</style><meta content=\"$policy\"><script>$js</script><i id='data'>$data</i>",
    css="p {}",
    js="run()",
)
ROLE = "arn:aws:iam::111122223333:role/ci/deploy"


def made(*policies: Policy, **more: Any) -> dict[str, Any]:
    return data(Catalogue(policies=policies, **more), source="here", made="now", names={})


def listed(shown: dict[str, Any]) -> set[tuple[str, str, str, str]]:
    """Read the map back: pipeline, rule, kind and name of everything on it."""
    text = shown["texts"]
    found = set()
    for pipeline, _, rules in shown["pipelines"]:
        for rule, _, _, used, _, _, _ in rules:
            for number in used[::2]:
                kind, name, _ = shown["targets"][number]
                found.add((text[pipeline], text[rule], text[kind], text[name]))
    return found


@given(st.sets(st.integers(0, 60), min_size=1, max_size=8))
def test_the_map_has_every_access_and_no_other(numbers: set[int]) -> None:
    policies = [parse(large.document(number), "x") for number in numbers]
    expected = {(one.pipeline, one.rule, one.kind, one.name) for one in accesses(policies)}
    assert listed(made(*policies)) == expected


def test_equal_texts_are_stored_once() -> None:
    shown = made(*(parse(large.document(number), "x") for number in range(100)))
    assert len(shown["texts"]) == len(set(shown["texts"]))
    assert len(json.dumps(shown)) < 100_000


HOSTILE = st.text(min_size=1, max_size=40) | st.sampled_from(
    ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "$data", "\u202eevil"]
)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_nothing_that_people_write_is_in_the_page_but_as_packed_data(
    source: str, origin: str, name: str
) -> None:
    catalogue = Catalogue(
        policies=(policy(f"  - {{name: all, when: {{branch: {json.dumps(name)}}}, allow: {{}}}}"),)
        if name.isprintable() and name.isascii() and name != "!"
        else (),
        unreadable=(Unreadable(origin=origin, details=(name,)),),
    )
    written = page(PARTS, catalogue, source=source, made="now", names={"1" * 12: name})
    around, packed = re.fullmatch(
        r"(.*<i id='data'>)([A-Za-z0-9+/=]+)</i>", written, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    empty = page(PARTS, Catalogue(policies=()), source="", made="", names={})
    assert empty.startswith(around)
    shown = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert set(shown) == set(made())
    assert "\u202e" not in json.dumps(shown, ensure_ascii=False)


def test_the_content_policy_names_exactly_this_script_and_style() -> None:
    written = page(PARTS, Catalogue(policies=()), source="", made="", names={})
    hashes = re.findall(r"(style|script)-src 'sha256-([A-Za-z0-9+/=]+)'", written)
    # printf 'p {}' | openssl dgst -sha256 -binary | base64, and the same for run()
    assert dict(hashes) == {
        "style": "SNJDlN1Iy2mnt7DOjQIyDb2LQE6O5PQiSZomcdzawQ4=",
        "script": "AvyuiL0SD1mVY3NNxR+V2uo+lhk6RMFrytWmRt6CrJQ=",
    }
    assert "default-src 'none'" in written
    assert "require-trusted-types-for 'script'" in written


def test_the_script_has_no_way_to_turn_text_into_markup_or_code() -> None:
    js = resources.files("bootstrap.policy").joinpath("access_map.js").read_text()
    ways = ("HTML", "document.write", "eval", "Function(", "setTimeout", "srcdoc", "location =")
    assert not [way for way in ways if way in js]
    assert "textContent" in js


def test_notes_name_what_a_reviewer_has_to_know_about_a_session() -> None:
    (rule,) = policy(
        "  - name: a\n    allow:\n      role: " + ROLE + "\n      env: NODE_OPTIONS\n"
        "      limits: {memory: 8GiB, cpus: 1.5}\n      delivery: env\n      workspace: fresh\n"
        "      session: {duration: 90m, tags: {team: a, cost: b},\n"
        "        transitive: [team, 'buildkite:pipeline'],\n"
        "        external-id: xyz, source-identity: none, policy-arns: "
        "'arn:aws:iam::aws:policy/ReadOnlyAccess'}\n"
    ).rules
    assert list(notes(rule.allow)) == [
        ("duration", "90m"), ("session tag", "team=a (transitive)"), ("session tag", "cost=b"),
        ("session tag", "buildkite:pipeline (transitive)"),
        ("external-id", "xyz"), ("source-identity", "none"),
        ("policy-arns", "arn:aws:iam::aws:policy/ReadOnlyAccess"), ("delivery", "env"),
        ("env", "NODE_OPTIONS"), ("limits", "memory 8GiB, cpus 1.5"), ("workspace", "fresh"),
    ]  # fmt: skip


@pytest.mark.parametrize(("forks", "reach"), [("nothing", 1), ("refuse", 1), ("anything", 2)])
def test_guardrails_for_forks_bound_what_a_rule_reaches(forks: str, reach: int) -> None:
    rails = parse_guardrails(f"guardrails: acme\nforks: {forks}\n", "guardrails.yaml")
    of = policy(f"  - {{name: a, when: {{pull-request: any}}, allow: {{role: '{ROLE}'}}}}")
    ((_, _, ((_, _, found, _, _, _, _),)),) = made(of, guardrails=rails)["pipelines"]
    assert found == reach


def test_an_excess_names_the_guardrail_and_what_it_allows() -> None:
    rails = parse_guardrails("guardrails: acme\naccounts: ['444455556666']\n", "guardrails.yaml")
    shown = made(policy(f"  - {{name: a, allow: {{role: '{ROLE}'}}}}"), guardrails=rails)
    ((_, _, ((*_, excesses),)),) = shown["pipelines"]
    assert [shown["texts"][number] for number in excesses] == [
        "accounts: got 111122223333, allowed 444455556666"
    ]
    assert ["accounts", "444455556666"] in shown["guardrails"]


def test_names_of_accounts_come_from_organizations_or_a_mapping() -> None:
    listing = {"Accounts": [{"Id": "111122223333", "Name": "production", "Arn": "arn:…"}]}
    assert account_names(json.dumps(listing)) == {"111122223333": "production"}
    assert account_names('{"111122223333": "production"}') == {"111122223333": "production"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "expected a JSON object"),
        ('{"1": "x"}', "twelve digits, got '1'"),
        ('{"111122223333": 1}', "the name of account 111122223333 as text"),
        ('{"Accounts": [{"Id": "111122223333"}]}', "an Id and a Name of every account"),
    ],
)
def test_other_names_are_refused_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        account_names(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("Accounts"), inner),
)


@given(JSON)
def test_any_json_gives_names_or_a_value_error(content: object) -> None:
    try:
        names = account_names(json.dumps(content))
    except ValueError as refused:
        assert "expected" in str(refused)
    else:
        assert all(len(id_) == 12 and name for id_, name in names.items())


def test_a_rule_has_what_guardrails_require_and_whether_no_job_meets_it() -> None:
    asked = f"{{name: prod, roles: '{ROLE}', branch: main, vouched: 'yes'}}"
    rails = parse_guardrails(f"guardrails: acme\nrequires: {asked}", "g")
    met, never = "{branch: '*'}", "{branch: '*', env: {X: '*'}}"
    shown = made(
        policy(
            f"  - {{name: a, when: {met}, allow: {{role: '{ROLE}'}}}}\n"
            f"  - {{name: b, when: {never}, allow: {{role: '{ROLE}'}}}}\n"
            f"  - {{name: c, when: {met}, allow: {{}}}}\n"
        ),
        guardrails=rails,
    )
    text = shown["texts"]
    rules = [(rule[5], rule[6]) for rule in shown["pipelines"][0][2]]
    pairs = [[(text[key], text[value]) for key, value in noted] for noted, _ in rules]
    required = [dict(noted).get("required by prod", "") for noted in pairs]
    assert ["branch main" in words for words in required] == [True, True, False]
    assert required[0].endswith("; only vouched facts")
    assert [[text[one] for one in refused] for _, refused in rules] == [
        [], ["requires.prod: got a condition on env X, which is only the job's word"], [],
    ]  # fmt: skip
    assert "branch main" in dict(shown["guardrails"])["requires"]
