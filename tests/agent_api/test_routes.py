"""The table of calls is that of the agent's source (docs/agent-api.md#calls)."""

import re

import pytest

from bootstrap.agent_api.routes import Kind, find
from tests.test_docs import ROOT

JOB = "0190e0a0-0000-4000-8000-000000000001"


def test_each_call_of_the_page_is_known_and_every_kind_is_on_it() -> None:
    page = (ROOT / "docs/agent-api.md").read_text()
    listed = re.findall(r"`(GET|POST|PUT|DELETE) /([a-z_:/|~-]+)", page.replace("\\|", "|"))
    kinds = set()
    for method, path in listed:
        for last in path.rpartition("/")[2].split("|"):
            parts = (*path.split("/")[:-1], last) if "/" in path else (last,)
            route = find(method, tuple(part.replace(":", "x") for part in parts))
            assert route, (method, path)
            kinds.add(route.kind)
    assert kinds == set(Kind)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "jobs/a/data/get"), ("POST", "jobs/a/data/get|exists|keys"), ("POST", "jobs/a/data/"),
     ("POST", "jobs/a/data/get/b"), ("POST", "v3/jobs/a/data/get"), ("HEAD", "jobs/a"),
     ("POST", "jobs/a/oidc/tokens.json"), ("PATCH", "jobs/a"), ("POST", ":job"),
     ("PUT", "store/a"), ("POST", "")],
)  # fmt: skip
def test_anything_else_is_no_call(method: str, path: str) -> None:
    assert find(method, tuple(path.split("/"))) is None


def test_the_names_in_a_path_are_kept_as_they_are() -> None:
    route = find("DELETE", ("jobs", JOB, "annotations", "a/b|c"))
    assert route
    assert (route.kind, route.job, route.name) == (Kind.ANNOTATION_REMOVE, JOB, "a/b|c")
