"""docs/features.md says what the tests show, and each of its rows has a test."""

import pytest

from tests.lab.contract_cases import CASES
from tests.lab.feature_cases import Feature
from tests.lab.feature_page import PAGE, ROOT, text
from tests.lab.features import FEATURES

CONTRACT = {case.name for case in CASES}


def test_the_page_is_made_of_the_rows() -> None:
    assert PAGE.read_text() == text(), "run `python -m tests.lab.feature_page`"
    assert len(FEATURES) >= 40


@pytest.mark.parametrize("feature", FEATURES, ids=lambda one: one.name)
def test_a_row_has_one_test_that_shows_it(feature: Feature) -> None:
    shown = [feature.case is not None, feature.shown in CONTRACT, (ROOT / feature.shown).is_file()]
    assert shown.count(True) == 1
