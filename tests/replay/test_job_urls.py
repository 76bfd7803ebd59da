"""URLs of jobs, in all forms in which people copy them."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootstrap.buildkite.job_urls import BuildkiteUrl, parse

JOB = "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
STEP = "0193a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"
PAGE = "https://buildkite.com/acme/storefront/builds/42"
API = "https://api.buildkite.com/v2/organizations/acme/pipelines/storefront/builds/42"
LONG = "https://buildkite.com/organizations/acme/pipelines/storefront/builds/42"


@pytest.mark.parametrize(
    "url",
    [
        f"{PAGE}#{JOB}", f"{PAGE}/#{JOB}", f"{PAGE}#{JOB.upper()}", f"{PAGE}#{JOB}/12-34",
        f"{PAGE}/steps/canvas?jid={JOB}", f"{PAGE}/canvas?jid={JOB}&tab=output",
        f"{PAGE}/list?jid={JOB}#{JOB}", f"{LONG}/jobs/{JOB}", f"{LONG}/jobs/{JOB}/raw_log",
        f"{LONG}/jobs/{JOB}/download.txt", f"{API}/jobs/{JOB}", f"{API}/jobs/{JOB}/env",
        f"{API}/jobs/{JOB}/log.txt", f"https://ada:pw@buildkite.com/acme/storefront/builds/42#{JOB}",
    ],
)  # fmt: skip
def test_each_form_names_the_job(url: str) -> None:
    found = parse(url)
    names = (found.organization, found.pipeline, found.build, found.job)
    assert names == ("acme", "storefront", "42", JOB)
    assert found.host in {"buildkite.com", "api.buildkite.com"}


@pytest.mark.parametrize("url", [PAGE, f"{PAGE}/", f"{PAGE}/waterfall", f"{PAGE}#annotation-x",
                                 API, LONG])  # fmt: skip
def test_a_build_without_a_job_names_none(url: str) -> None:
    assert parse(url).job is None
    assert parse(url).build == "42"


def test_a_step_is_named_by_the_query() -> None:
    assert parse(f"{PAGE}/steps/canvas?sid={STEP}").step == STEP


@pytest.mark.parametrize(
    "url",
    [
        "https://buildkite.com/", "https://buildkite.com/acme/x", "buildkite.com/a/b/builds/1",
        "ftp://buildkite.com/acme/storefront/builds/42", "https://buildkite.com/acme/../builds/42",
        "https:///acme/storefront/builds/42", f"{PAGE}x", f"{PAGE}#{JOB}?jid={JOB}" * 60,
        "https://[::1/acme/storefront/builds/42", f"{LONG}/jobs/{JOB}/env/../../x",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_job_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not a URL"):
        parse(url)


def test_two_jobs_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="names 2 jobs"):
        parse(f"{PAGE}/list?jid={JOB}#{STEP}")


SLUG = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(SLUG, SLUG, st.integers(0, 10**9), st.uuids())
def test_every_slug_comes_back(organization: str, pipeline: str, build: int, job: object) -> None:
    found = parse(f"https://buildkite.com/{organization}/{pipeline}/builds/{build}#{job}")
    assert (found.organization, found.pipeline) == (organization, pipeline)
    assert (found.build, found.job) == (str(build), str(job))


@given(st.text() | st.text().map(lambda text: f"https://buildkite.com/{text}"))
@example("https://\u2100.com/")
def test_any_text_is_a_url_or_an_error_and_makes_no_other_path(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert isinstance(found, BuildkiteUrl)
    for part in (found.organization, found.pipeline, found.build, found.job or "x"):
        assert quote(part, safe="") == part, "it is a part of the API's path as it is"
        assert part not in {".", ".."}
