"""What is allocated after holes were filled does not lie beside what was there.

Each in a process of its own with one thread, as the service is when it fills them: what pytest and
other tests have allocated, and malloc's further arenas, would decide otherwise.
"""

import subprocess
import sys

import pytest

SHARED = """
import sys
from bootstrap.service import holes

size, number, new_ones, filled = map(int, sys.argv[1:])

def pages(objects):
    return {(id(each) + at) // 4096 for each in objects for at in range(0, size, 8)}

before = [bytes(size - 33) for _ in range(number)]
del before[::3]
held = holes.fill() if filled else []
new = [bytes(size - 33) for _ in range(new_ones)]
print(len(pages(new) & pages(before)))
"""


def shared(size: int, number: int, new: int, *, filled: bool) -> int:
    """Return how many pages new objects share with those from before."""
    command = [sys.executable, "-c", SHARED, *map(str, (size, number, new, int(filled)))]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(
    ("size", "number", "new"),
    [(64, 4000, 200), (256, 4000, 200), (512, 4000, 200), (1000, 400, 10), (5000, 400, 10)],
)
def test_new_objects_have_pages_of_their_own(size: int, number: int, new: int) -> None:
    assert shared(size, number, new, filled=True) <= 1
    assert shared(size, number, new, filled=False) > 1
