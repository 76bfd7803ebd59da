"""What is allocated after holes were filled does not lie beside what was there."""

import pytest

from bootstrap.service import holes

PAGE = 4096


def pages(objects: list[bytes]) -> set[int]:
    return {id(each) // PAGE for each in objects}


@pytest.mark.parametrize("size", [64, 256, 512])
def test_new_objects_have_pages_of_their_own(size: int) -> None:
    before = [bytes(size - 33) for _ in range(4000)]
    del before[::3]
    held = holes.fill()
    new = [bytes(size - 33) for _ in range(200)]
    assert len(pages(new) & pages(before)) <= 1
    assert held


@pytest.mark.parametrize("size", [1000, 5000])
def test_large_ones_too(size: int) -> None:
    before = [bytes(size - 33) for _ in range(400)]
    del before[::3]
    held = holes.fill()
    new = [bytes(size - 33) for _ in range(10)]
    assert len(pages(new) & pages(before)) <= 1
    assert held
