"""Whatever a source contains: a proposal is made of it, or it is refused; nothing gets through."""

import json

import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy import import_leaves, import_steps, import_trust
from bootstrap.policy.proposals import Proposal, ProposedRule, document, merged

TEXT = st.text(max_size=30) | st.sampled_from(["a\n  - evil: 1", "# x", "\u2028y: z", "'", '"'])


@given(TEXT, TEXT, st.lists(TEXT, max_size=3), TEXT)
def test_nothing_in_a_source_adds_to_a_proposal(
    name: str, branch: str, notes: list[str], pipeline: str
) -> None:
    """A comment or value that others wrote cannot become a key, a rule or a line of its own."""
    rule = ProposedRule(name=name, when={"branch": branch}, allow={}, notes=tuple(notes))
    (made,) = merged((Proposal(pipeline=pipeline, rules=(rule,), notes=tuple(notes)),), None)
    content = yaml.safe_load(document(made, name))
    assert content == {
        "pipeline": pipeline,
        "rules": [{"name": made.rules[0].name, "when": {"branch": branch}, "allow": {}}],
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(
                [
                    "Role",
                    "Roles",
                    "Arn",
                    "AssumeRolePolicyDocument",
                    "Statement",
                    "Effect",
                    "Allow",
                    "Parameters",
                    "Name",
                    "Type",
                    "Value",
                    "steps",
                    "plugins",
                    "role",
                    "agents",
                    "if",
                ],
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON | st.builds(lambda one: {"steps": [one]}, JSON))
def test_any_json_gives_proposals_or_a_value_error(content: object) -> None:
    text = json.dumps(content)
    for parser in (
        import_trust.found, lambda t: import_leaves.found(t, ""),
        lambda t: import_steps.found(t, "p"),
    ):  # fmt: skip
        try:
            made = parser(text)
        except ValueError as refused:
            assert str(refused)
        else:
            assert made is not None


@given(st.text(max_size=200))
def test_any_text_gives_steps_or_a_value_error(text: str) -> None:
    try:
        proposal = import_steps.found(text, "p")
    except ValueError as refused:
        assert str(refused)
    else:
        assert proposal.pipeline == "p"
