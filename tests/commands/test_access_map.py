"""The access map of a large organisation in a real browser: desktop, keyboard, phone, dark, print.

How its data are made is in tests/policy/test_access_map.py.
"""

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands.policy.report import report
from tests.commands.browser import Browser, browser
from tests.lab.engine import eventually
from tests.policy import large
from tests.test_cli import AIRLOCK

COUNT = "return document.getElementById('count').textContent"
READY = "return document.documentElement.dataset.ready"
NAMES = "return [...document.querySelectorAll('#rows .name')].map(one => one.title)"
HEADS = "return [...document.querySelectorAll('#heads .role')].map(one => one.title)"
FOLDED = "return [...document.querySelectorAll('#heads .folded')].map(one => one.title)"
DETAIL = "return document.getElementById('detail').innerText"
FOCUS = "return [document.activeElement.dataset.row, document.activeElement.dataset.column]"
HOSTILE = """pipeline: aa-hostile
repository: git@github.com:acme/hostile.git
rules:
  - name: '<img src=x onerror="document.title=1"></script>'
    when: {branch: main, pull-request: any}
    allow: {role: "arn:aws:iam::111100000003:role/admin", secrets: {A: "ssm:/other/key"}}
"""
LEFT, RIGHT, DOWN, UP, ENTER, ESCAPE = "\ue012", "\ue014", "\ue015", "\ue013", "\ue007", "\ue00c"


def set_to(field: str, value: str) -> str:
    return f"""const box = document.getElementById({field!r}); box.value = {value!r};
      box.dispatchEvent(new Event('input'));"""


def written(base: Path, policies: Path) -> Path:
    names = {"Accounts": [{"Id": large.account(3), "Name": "production", "Status": "ACTIVE"}]}
    (base / "accounts.json").write_text(json.dumps(names))
    path = base / "map.html"
    printed: list[str] = []
    status = report(
        directory=policies, config_path=base, accounts=base / "accounts.json", path=path,
        as_json=False, output=printed.append,
    )  # fmt: skip
    assert status == 0
    assert printed == [
        f"wrote {path}: 1001 pipelines, 1 document with mistakes (see `airlock policy lint`):",
        f"  {policies / 'broken.yaml'}",
    ]
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("map")
    policies = large.write(base / "policies")
    (policies / "aa-hostile.yaml").write_text(HOSTILE)
    (policies / "broken.yaml").write_text("pipelin: <b>x</b>\n")
    return written(base, policies)


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def at(page: Path, window: Browser) -> Browser:
    window.emulate("clearDeviceMetricsOverride")
    window.emulate("setEmulatedMedia", features=[])
    window.resize(1400, 900)
    return opened(window, page.as_uri())


def opened(window: Browser, url: str) -> Browser:
    window.open("about:blank")
    window.open(url)
    eventually(lambda: window.run(READY), "the map")
    return window


def test_a_thousand_pipelines_in_fifty_accounts_are_small_and_soon_there(
    page: Path, at: Browser
) -> None:
    assert page.stat().st_size < 1_000_000
    assert at.run(COUNT) == "1001 of 1001 pipelines, 6002 roles"
    took = [float(opened(at, page.as_uri()).run(READY)) for _ in range(3)]
    assert min(took) < 2000, f"{took} ms; the machine may be busy for some of them"
    assert at.run("return document.querySelectorAll('*').length") < 2000
    assert at.errors() == []


# The kernel counts what the process that starts a command has used as the command's own: this one
# is small, and pytest is not.
_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
"""


def test_writing_it_takes_little_memory_and_time(tmp_path: Path) -> None:
    """Processor time, and not time that passes, since other tests run beside this one."""
    policies = large.write(tmp_path / "policies")
    command = [str(AIRLOCK), "policy", "report", str(policies), "--output", str(tmp_path / "map")]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], capture_output=True, check=True
    )
    most, seconds = map(float, done.stdout.split())
    assert most < 150 << 10, "KiB"
    assert seconds < 3


def test_the_page_loads_nothing_and_its_policy_forbids_it(page: Path, at: Browser) -> None:
    assert "http://" not in page.read_text()
    assert "https://" not in page.read_text()
    assert at.run("return performance.getEntriesByType('resource').length") == 0
    assert "unsafe" not in page.read_text().partition("<style>")[0]
    added = "const s = document.createElement('style'); s.textContent = 'body {opacity: 0.5}';"
    at.run(added + "document.head.append(s)")
    assert at.run("return getComputedStyle(document.body).opacity") == "1"
    assert any("Content Security Policy" in error for error in at.errors())


def test_columns_are_accounts_by_name_that_open_into_roles(at: Browser) -> None:
    assert at.run(HEADS) == []
    first = at.run(FOLDED)[:2]
    assert first == [f"production ({large.account(3)}): 121", f"{large.account(0)}: 121"]
    at.run("document.querySelector('#heads .folded').click()")
    assert at.run(HEADS)[0] == f"arn:aws:iam::{large.account(3)}:role/admin"
    assert at.run(FOCUS) == ["-1", "0"]
    at.run("document.querySelector('#heads .group').click()")
    assert at.run(HEADS) == []
    assert at.run(FOCUS) == ["-1", "0"]


def test_headings_stay_while_rows_and_columns_scroll(at: Browser) -> None:
    before = at.run(NAMES)
    at.run("const s = document.getElementById('scroller'); s.scrollTop = 20000; s.scrollLeft = 700")
    eventually(lambda: at.run(NAMES) != before, "other rows")
    places = at.run(
        "const all = q => document.querySelector(q).getBoundingClientRect();"
        "const box = all('#scroller');"
        "return [all('#heads').top - box.top, all('#rows .name').left - box.left]"
    )
    assert places == [0, 0]
    assert len(at.run(NAMES)) < 60


@pytest.mark.parametrize(
    ("field", "text", "count"),
    [
        ("anything", "team-03-service-0003", "1 of 1001 pipelines, 7 roles"),
        ("pipeline", "team-03", "25 of 1001 pipelines, 151 roles"),
        ("role", "role/hub", "334 of 1001 pipelines, 1 role"),
        ("role", "service-0003-read", "1 of 1001 pipelines, 4 roles"),
        ("account", "production", "121 of 1001 pipelines, 121 roles"),
        ("secret", "ssm: 0007/npm", "1 of 1001 pipelines, 0 roles"),
        ("condition", "release/* team-7 ", "25 of 1001 pipelines, 151 roles"),
        ("anything", "no such thing", "0 of 1001 pipelines, 0 roles"),
    ],
)
def test_a_filter_leaves_what_matches_and_its_columns(
    at: Browser, field: str, text: str, count: str
) -> None:
    at.run(set_to("field", field))
    at.run(set_to("filter", text))
    assert at.run(COUNT) == count
    assert at.run("return !document.getElementById('none').hidden") == count.startswith("0 ")


def test_what_is_beyond_the_guardrails_or_open_can_be_listed(at: Browser) -> None:
    at.run(set_to("show", "refused"))
    assert at.run(NAMES) == ["aa-hostile"]
    at.run(set_to("show", "forks"))
    assert at.run(NAMES) == [], "the guardrails exclude forks from every grant"
    at.run(set_to("show", "open"))
    assert at.run(COUNT) == "1000 of 1001 pipelines, 6001 roles"


def test_a_fragment_of_the_url_is_the_filter(page: Path, window: Browser) -> None:
    opened(window, f"{page.as_uri()}#team-39-service-0999")
    assert window.run(NAMES) == ["team-39-service-0999"]


def test_markup_in_a_policy_is_text(page: Path, at: Browser) -> None:
    assert "<img" not in page.read_text()
    at.run("document.querySelector('.name').click()")
    assert '<img src=x onerror="document.title=1"></script>' in at.run(DETAIL)
    assert at.run("return document.querySelectorAll('img, b > *').length") == 0
    assert at.run("return document.title") == "Access map"


def test_a_refused_rule_names_its_guardrail(at: Browser) -> None:
    at.run("document.querySelector('.name').click()")
    shown = at.run(DETAIL)
    assert "The guardrails refuse this rule" in shown
    assert "role/admin, allowed arn:aws:iam::*:role/ci/* or" in shown


def test_detail_lists_via_tags_and_profiles(at: Browser) -> None:
    at.run(set_to("filter", "service-0003"))
    at.run("document.querySelector('.name').click()")
    shown = at.run(DETAIL)
    for part in (
        f"via arn:aws:iam::{large.account(0)}:role/hub", "service=team-03-service-0003", "2h",
        "account production", "audit-1", "secret ssm:/ci/team-03-service-0003/npm-token",
        "as NPM_TOKEN", "branch main or release/*", "creator-team team-3 or platform",
    ):  # fmt: skip
        assert part in shown, part


def test_the_head_of_a_role_lists_who_reaches_it(at: Browser) -> None:
    at.run(set_to("field", "role"))
    at.run(set_to("filter", "role/hub"))
    at.run("document.querySelector('#heads .role').click()")
    assert "role of 334 pipelines" in at.run(DETAIL)


def test_broken_documents_guardrails_and_legend_can_be_read(at: Browser) -> None:
    assert at.run("return document.getElementById('broken').innerText") == (
        "1 document with mistakes"
    )
    for button, text in (
        ("broken", 'unknown key "pipelin"; did you mean "pipeline"?'),
        ("guardrails", "arn:aws:iam::*:role/ci/*, arn:aws:iam::*:role/hub"),
        ("help", "Any pull request, including those from forks"),
    ):
        at.run(f"document.getElementById({button!r}).click()")
        assert text in at.run(DETAIL)


def test_arrow_keys_move_enter_opens_and_escape_returns(at: Browser) -> None:
    at.run("document.querySelector('.name').focus()")
    for key, expected in (
        (DOWN, ["1", "-1"]), (RIGHT, ["1", "0"]), (DOWN, ["2", "0"]), (RIGHT, ["2", "1"]),
        (LEFT, ["2", "0"]), (UP, ["1", "0"]), (UP, ["0", "0"]),
    ):  # fmt: skip
        at.press(key)
        assert at.run(FOCUS) == expected
    at.press(ENTER)
    assert "aa-hostile" in at.run(DETAIL)
    assert at.run("return document.activeElement.id") == "detail"
    at.press(ESCAPE)
    assert at.run("return document.getElementById('detail').hidden")
    assert at.run(FOCUS) == ["0", "0"]


def test_the_page_fits_a_phone(at: Browser) -> None:
    at.emulate("setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    eventually(lambda: at.run("return !document.querySelector('#heads').offsetParent"), "a list")
    assert at.run("return document.documentElement.scrollWidth <= innerWidth")
    assert "7 roles in 6 accounts" in at.run("return document.getElementById('rows').innerText")
    at.run("document.querySelector('.name').click()")
    box: dict[str, Any] = at.run(
        "return document.getElementById('detail').getBoundingClientRect().toJSON()"
    )
    assert (box["left"], box["top"], box["width"], box["height"]) == (0, 0, 390, 844)
    assert struct.unpack(">II", at.screenshot()[16:24]) == (780, 1688)


def test_a_dark_desktop_gets_a_dark_page(at: Browser) -> None:
    at.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert at.run("return getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 30)"


def test_print_contains_what_the_filter_shows_and_no_blank_page(
    at: Browser, tmp_path: Path
) -> None:
    at.run(set_to("filter", "team-03"))
    at.run("document.querySelector('.name').click()")
    (tmp_path / "map.pdf").write_bytes(at.printed())
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "map.pdf", "-"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    pages = text.removesuffix("\f").split("\f")
    assert len(pages) > 5
    assert all(len(page.strip()) > 100 for page in pages)
    assert "Filter: “team-03” in anything" in pages[0]
    assert 'unknown key "pipelin"' in pages[0]
    assert text.count("● deploy") == 25
    assert "team-04" not in text
