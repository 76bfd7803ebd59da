"""The proxy of a person's environment, for commands that people run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.host.proxy import Proxy, of_environment

URL = "https://api.buildkite.com/v2/x"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_https_goes_through_the_proxy_that_is_set(name: str) -> None:
    found = of_environment({name: "http://ada:pw@proxy.example.com:3128"})(URL)
    assert found is not None
    assert found.address == "proxy.example.com:3128"
    assert of_environment({name: "http://proxy.example.com:3128"})("http://127.0.0.1:1/") is None


@pytest.mark.parametrize(
    ("listed", "direct"),
    [
        ("buildkite.com", True), (".buildkite.com", True), ("*.buildkite.com", True), ("*", True),
        ("example.com, api.buildkite.com", True), ("example.com", False), ("", False),
        ("api.buildkite.com:443", False), (" , ,", False),
    ],
)  # fmt: skip
def test_exceptions_are_reached_directly(listed: str, *, direct: bool) -> None:
    env = {"HTTPS_PROXY": "http://proxy.example.com:3128", "NO_PROXY": listed}
    assert (of_environment(env)(URL) is None) is direct


def test_no_proxy_is_none() -> None:
    assert of_environment({})(URL) is None
    assert of_environment({"HTTPS_PROXY": " ", "HTTP_PROXY": "http://x:1"})(URL) is None


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_value_is_a_proxy_or_an_error(url: str, listed: str) -> None:
    try:
        found = of_environment({"HTTPS_PROXY": url, "NO_PROXY": listed})(URL)
    except ValueError as wrong:
        assert "http://host:port" in str(wrong)
    else:
        assert found is None or isinstance(found, Proxy)


@given(st.text(max_size=60))
def test_any_list_of_exceptions_is_taken(listed: str) -> None:
    env = {"HTTPS_PROXY": "http://proxy.example.com:3128", "NO_PROXY": listed}
    found = of_environment(env)(URL)
    assert found is None or found.address == "proxy.example.com:3128"
