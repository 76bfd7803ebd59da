"""Airlock, with a list of what forked processes import, and of the files that they open.

python -I audited.py LIST COMMAND...
"""

import os
import runpy
import sys
from typing import Any

LIST = sys.argv.pop(1)
FIRST = os.getpid()
_writing = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    global _writing  # noqa: PLW0603 - an audit hook is called for what it does itself
    if event not in {"import", "open"} or _writing or os.getpid() == FIRST:
        return
    _writing = True
    try:
        with open(LIST, "a") as file:  # noqa: PTH123 - nothing may be imported here
            file.write(f"{event} {arguments[0]}\n")
    finally:
        _writing = False


sys.addaudithook(_note)
runpy.run_module("bootstrap", run_name="__main__", alter_sys=True)
