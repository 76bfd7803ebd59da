"""Each form of a value is read in one way, or refused with what was expected."""

from pathlib import Path

import pytest

from bootstrap import forms
from bootstrap.forms import FileStore, SsmStore


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MiB", 512 << 20), ("8 GiB", 8 << 30), ("64KiB", 64 << 10), ("0GiB", 0)],
)
def test_sizes(text: str, size: int) -> None:
    assert forms.size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("12h", 43200), ("14d", 14 * 86400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert forms.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "store"),
    [
        ("file:/etc/airlock/policies", FileStore(path=Path("/etc/airlock/policies"))),
        ("ssm:/buildkite/pipelines", SsmStore(path="/buildkite/pipelines")),
    ],
)
def test_stores_are_read_and_shown_as_written(text: str, store: forms.Store) -> None:
    assert forms.store(text) == store
    assert str(store) == text


@pytest.mark.parametrize("text", ["8GB", "8", "-1GiB", "1.5GiB", "٨GiB", "8GiB\n", 8, None, []])
def test_what_is_not_a_size(text: object) -> None:
    with pytest.raises(ValueError, match='expected a size such as "512MiB"'):
        forms.size(text)


@pytest.mark.parametrize("text", ["1w", "1", "-1s", "1.5h", "٣s", "1s\n", 1, None])
def test_what_is_not_a_duration(text: object) -> None:
    with pytest.raises(ValueError, match='expected a duration such as "30s"'):
        forms.duration(text)


@pytest.mark.parametrize(
    "text", ["s3:/x", "/x", "file:x", "file:", "ssm:/", "ssm:x", "ssm:/a//b", "file:/x\0/", 1]
)
def test_what_is_not_a_store(text: object) -> None:
    with pytest.raises(ValueError, match='expected "file:/path/on/this/host"'):
        forms.store(text)


@pytest.mark.parametrize("text", ["0MiB", "0GiB"])
def test_no_size_at_all_is_not_a_limit(text: str) -> None:
    with pytest.raises(ValueError, match="above zero"):
        forms.positive_size(text)
    with pytest.raises(ValueError, match="at least"):
        forms.memory(text)


@pytest.mark.parametrize(
    ("check", "text", "fits"),
    [
        (forms.role_arn, "arn:aws:iam::111122223333:role/ci/deploy", True),
        (forms.role_arn, "arn:aws-us-gov:iam::111122223333:role/deploy", True),
        (forms.role_arn, "arn:aws:iam::111122223333:user/me", False),
        (forms.role_arn, "arn:aws:iam::111122223333:role/a\n", False),
        (forms.role_arn, "arn:aws:iam::111122223333:role/ci/..x/a.b", True),
        (forms.role_arn, "arn:aws:iam::111122223333:role/ci/../b", False),
        (forms.reference, "ssm:/ci/token", True),
        (forms.reference, "secretsmanager:prod/db#password", True),
        (forms.reference, "vault:x", False),
        (forms.registry, "registry.example.com:5000", True),
        (forms.registry, "Registry.example.com", False),
        (forms.registry, "registry.example.com/ci", False),
    ],
)
def test_names_of_aws_and_of_registries(check: forms.Check, text: str, fits: bool) -> None:  # noqa: FBT001
    if fits:
        assert check(text) == text
    else:
        with pytest.raises(ValueError, match=r"^expected "):
            check(text)
