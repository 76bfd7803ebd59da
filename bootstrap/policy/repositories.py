"""Whether the patterns of a condition on repositories admit a URL."""

from collections.abc import Iterable

from bootstrap.job.repository import Repository, parse, parse_pattern
from bootstrap.policy.glob import matches


def admits(patterns: Iterable[str], url: str) -> bool:
    """Return whether the list admits the repository that git reaches by `url`.

    A pattern is a URL in whose path a `*` stays within one segment, and admits what the URL would
    (job.repository.same); `*` alone admits every repository. A negation excludes its host and path
    whatever the transport, user and port, and in every case of letters.
    """
    listed, repository = tuple(patterns), parse(url)
    positive = [pattern for pattern in listed if not pattern.startswith("!")]
    negative = [pattern.removeprefix("!") for pattern in listed if pattern.startswith("!")]
    if not listed or repository is None or any(_excludes(p, repository) for p in negative):
        return False
    return not positive or any(_names(pattern, repository) for pattern in positive)


def _names(pattern: str, repository: Repository) -> bool:
    if pattern == "*":
        return True
    named = parse_pattern(pattern)
    if named is None or _reached(named) != _reached(repository):
        return False
    return _segments(named.path.split("/"), repository.path.split("/"))


def _reached(repository: Repository) -> tuple[str, str | None, str, str | None]:
    return repository.transport, repository.user, repository.host, repository.port


def _excludes(pattern: str, repository: Repository) -> bool:
    named = None if pattern == "*" else parse_pattern(pattern)
    if named is None:  # in doubt it is excluded
        return True
    return named.host == repository.host and _segments(_loose(named), _loose(repository))


def _loose(repository: Repository) -> list[str]:
    return repository.path.strip("/").removesuffix(".git").casefold().split("/")


def _segments(patterns: list[str], parts: list[str]) -> bool:
    return len(patterns) == len(parts) and all(map(matches, patterns, parts))
