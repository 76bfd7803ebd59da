"""Which labels of containers are taken for tokens: images write any text into them."""

from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.sandbox import engine
from bootstrap.sandbox.model import is_token
from bootstrap.sandbox.plan import HOLDER_LABEL, LABEL
from bootstrap.sandbox.workspace import token_for

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client


class Listing:
    """An engine with containers that have these labels."""

    def __init__(self, *labels: dict[str, str]) -> None:
        self.labels = labels

    def get(self, _path: str, **_query: Any) -> Any:
        return [{"Labels": one} for one in self.labels]


@pytest.mark.parametrize("listed", [engine.containers, engine.holders])
def test_label_that_is_no_token_names_no_job(listed: Any) -> None:
    made = [{LABEL: text, HOLDER_LABEL: text} for text in ("0190-abcd", "../../x", "", "..", "a/b")]
    assert listed(cast("Client", Listing(*made))) == ("0190-abcd",)


@given(st.text(min_size=1, max_size=255))
def test_name_of_every_job_is_a_token(job_id: str) -> None:
    assert is_token(token_for(job_id, "00ff00ff"))


@given(st.text(max_size=10))
def test_token_is_one_part_of_a_path(text: str) -> None:
    if is_token(text):
        assert text not in {"", ".", ".."}
        assert "/" not in text
