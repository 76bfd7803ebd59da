"""`airlock completion`: a script for the user's shell."""

import argparse
from collections.abc import Callable

from bootstrap.completion import commands, script


def completion(
    *, shell: str, parser: argparse.ArgumentParser, output: Callable[[str], None]
) -> int:
    """Print what completes the parser's command line in "bash", "zsh" or "fish"."""
    output(script(shell, commands(parser)))
    return 0
