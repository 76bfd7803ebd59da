"""The access map in a real browser: it opens, filters, shows details, and fits a phone."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.commands.policy.report import report
from tests.commands.browser import Browser, browser
from tests.policy import corpus

COUNT = "return document.getElementById('count').textContent"
SHOWN = """return [...document.querySelectorAll('#map tbody tr')].filter(row => row.offsetParent)
  .map(row => row.querySelector('th').textContent)"""
HEADS = """return [...document.querySelectorAll('#map thead th')].filter(th => th.offsetParent)
  .map(th => th.title).filter(Boolean)"""


def typed(text: str) -> str:
    return f"""const box = document.getElementById('filter'); box.value = {text!r};
      box.dispatchEvent(new Event('input'));"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("map")
    policies = corpus.write(base / "policies")
    hostile = corpus.document(0).replace("service-000", "hostile")
    hostile = hostile.replace("name: forks", "name: '<img src=x onerror=alert(1)>'")
    (policies / "hostile.yaml").write_text(hostile)
    path = base / "map.html"
    printed: list[str] = []
    assert report(directory=policies, config_path=base, path=path, output=printed.append) == 0
    assert printed == [f"wrote {path}: 301 pipelines"]
    return path


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def at(page: Path, window: Browser) -> Browser:
    window.resize(1400, 900)
    window.open("about:blank")
    window.open(page.as_uri())
    return window


def test_the_page_opens_with_every_pipeline_and_no_console_error(at: Browser) -> None:
    assert at.run(COUNT) == "301 of 301 pipelines"
    assert len(at.run(SHOWN)) == 301
    assert at.errors() == []


def test_the_page_loads_no_resource(page: Path, at: Browser) -> None:
    assert "http://" not in page.read_text()
    assert "https://" not in page.read_text()
    assert at.run("return performance.getEntriesByType('resource').length") == 0


def test_a_filter_leaves_matching_rows_and_their_columns(at: Browser) -> None:
    at.run(typed("service-01 deploy-1"))
    assert at.run(SHOWN) == [f"service-01{n}" for n in range(10)]
    assert len(at.run(HEADS)) == 20
    at.run(typed("no such thing"))
    assert at.run(COUNT) == "0 of 301 pipelines"
    assert at.run("return !document.getElementById('none').hidden")
    at.run(typed(""))
    assert at.run(COUNT) == "301 of 301 pipelines"


def test_the_pull_request_box_combines_with_the_filter(at: Browser) -> None:
    at.run("document.getElementById('open').click()")
    assert at.run(COUNT) == "301 of 301 pipelines"
    at.run(typed("nothing is both"))
    assert at.run(COUNT) == "0 of 301 pipelines"


def test_a_fragment_of_the_url_is_the_filter(page: Path, window: Browser) -> None:
    window.open("about:blank")
    window.open(f"{page.as_uri()}#service-299")
    assert window.run(SHOWN) == ["service-299"]


def test_a_focused_mark_shows_its_rule_and_conditions(at: Browser) -> None:
    at.run("document.querySelector('button.dot').focus()")
    shown = at.run("return document.getElementById('card').innerText")
    assert "hostile: deploy → arn:aws:iam::" in shown
    assert "branch main or release/*" in shown
    inside = at.run(
        "const box = document.getElementById('card').getBoundingClientRect();"
        "return box.left >= 0 && box.top >= 0 && box.right <= innerWidth"
    )
    assert inside


def test_the_page_fits_a_phone(at: Browser) -> None:
    at.resize(390, 844)
    assert at.run("return document.documentElement.scrollWidth <= innerWidth")
    assert not at.run("return document.querySelector('.map').offsetParent")
    width, height = struct.unpack(">II", at.screenshot()[16:24])
    assert width > 300
    assert height > 300


def test_html_in_a_policy_is_escaped(page: Path) -> None:
    assert "<img" not in page.read_text()
