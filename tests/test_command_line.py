"""The arguments of what agents and systemd start, read without argparse."""

import pytest

from bootstrap.cli import without_argparse
from bootstrap.command_line import whole


@pytest.mark.parametrize("command", ["bootstrap", "admit", "serve"])
@pytest.mark.parametrize("options", [[], ["--config", "/some/airlock.toml"]])
def test_arguments_are_the_same_without_argparse(command: str, options: list[str]) -> None:
    found = without_argparse([command, *options])
    expected = whole().parse_args([command, *options])
    assert found is not None
    assert vars(expected).items() <= vars(found).items()


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["gc"],
        ["serve", "--check"],
        ["admit", "--final"],
        ["bootstrap", "--config"],
        ["serve", "--config", "--check"],
        ["serve", "--config=x"],
        ["serve", "--config", "x", "--check"],
    ],
)
def test_other_arguments_are_left_to_argparse(argv: list[str]) -> None:
    assert without_argparse(argv) is None
