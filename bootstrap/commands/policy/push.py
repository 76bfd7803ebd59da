"""`airlock policy push`: from a directory, as reviewed, into the host's SSM store."""

from pathlib import Path

from bootstrap.aws.ssm import STANDARD
from bootstrap.commands.policy.source import Say
from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.host import config
from bootstrap.policy.lint import Severity, lint
from bootstrap.policy.parameters import DOCUMENT
from bootstrap.policy.stores import whole
from bootstrap.policy.stores.ssm import Ssm

ADVANCED = 2 * STANDARD  # bytes


def push(*, directory: Path, config_path: Path, dry_run: bool, say: Say) -> int:
    """Write every document that differs from the store's; nothing at all if one has errors.

    SSM writes one parameter at a time, each whole or not at all. If a write fails, what was
    written before it is said, and doing it again writes the rest.
    """
    host = config.load(config_path)
    prefix = prefix_of(host.policy.store)
    texts = _checked(directory, say)
    if texts is None:
        return 1
    ssm = Ssm(host.aws)
    before = {slug: {p.name: p.value for p in known} for slug, known in ssm.tree(prefix).items()}
    _only_documents(texts, before)
    changed = {s: text for s, text in texts.items() if before.get(s, {}).get(DOCUMENT) != text}
    for done, (slug, text) in enumerate(changed.items()):
        path = f"{prefix}/{slug}/{DOCUMENT}"
        if dry_run:
            say(f"would write {path}, {len(text.encode())} bytes")
            continue
        try:
            say(f"wrote {path}, version {ssm.put(path, text)}")
        except AirlockError:
            say(f"{done} of {len(changed)} were written before this failed; push again to go on")
            raise
    say(f"{len(changed)} of {len(texts)} documents differ from the store's")
    return 0


def prefix_of(store: str) -> str:
    """Return the path of an SSM store. Raises WrongConfiguration for any other."""
    kind, _, place = store.partition(":")
    if kind != "ssm":
        raise WrongConfiguration(
            f"the store is {store}, which is not in SSM",
            hint="push and pull are for stores such as ssm:/buildkite/pipelines; a directory "
            "is copied by whatever deploys your hosts.",
        )
    return place


def _checked(directory: Path, say: Say) -> dict[str, str] | None:
    read = whole.folder(directory)
    errors = [f for f in lint(read.catalogue) if f.severity is Severity.ERROR]
    for finding in errors:
        say(f"{finding.origin}:{finding.line}: error [{finding.id}] {finding.text}")
    too_long = [slug for slug, text in read.texts.items() if len(text.encode()) > ADVANCED]
    for slug in too_long:
        say(f"{slug}: {len(read.texts[slug].encode())} bytes, and a parameter holds {ADVANCED}")
    if errors or too_long:
        say("nothing was written")
        return None
    return read.texts


def _only_documents(texts: dict[str, str], before: dict[str, dict[str, str]]) -> None:
    """Do not make a pipeline that both layouts describe: every job of it would be refused."""
    both = [slug for slug in texts if set(before.get(slug, {})) - {DOCUMENT}]
    if both:
        raise WrongConfiguration(
            f"the store has leaf parameters of {', '.join(both)}; only one of the layouts counts",
            hint="Remove the leaves of a pipeline before its document is pushed.",
        )
