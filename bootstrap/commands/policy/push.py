"""`airlock policy push`: from a reviewed directory to the host's SSM store."""

from pathlib import Path

from bootstrap.aws.ssm import STANDARD
from bootstrap.commands.policy.source import Output, require_policies, ssm_path
from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.host import config
from bootstrap.policy.findings import Severity
from bootstrap.policy.lint import lint
from bootstrap.policy.parameters import DOCUMENT
from bootstrap.policy.stores import whole
from bootstrap.policy.stores.ssm import Ssm
from bootstrap.text import counted

ADVANCED = 2 * STANDARD  # bytes


def push(*, directory: Path, config_path: Path, dry_run: bool, output: Output) -> int:
    """Write every document that differs from the store's; nothing at all if one has errors.

    SSM writes one parameter at a time, each whole or not at all. If a write fails, the number of
    documents already written is printed; running the command again writes the rest.
    """
    host = config.load(config_path)
    prefix = ssm_path(host.policy.store)
    texts = _checked(directory, output)
    if texts is None:
        return 1
    ssm = Ssm(host.aws)
    before = {slug: {p.name: p.value for p in known} for slug, known in ssm.tree(prefix).items()}
    _only_documents(texts, before)
    changed = {s: text for s, text in texts.items() if before.get(s, {}).get(DOCUMENT) != text}
    for done, (slug, text) in enumerate(changed.items()):
        path = f"{prefix}/{slug}/{DOCUMENT}"
        if dry_run:
            output(f"would write {path}, {len(text.encode())} bytes")
            continue
        try:
            output(f"wrote {path}, version {ssm.put(path, text)}")
        except AirlockError:
            output(
                f"{done} of {len(changed)} were written before this failed; push again for the rest"
            )
            raise
    output(f"{len(changed)} of {counted(len(texts), 'document')} differed from the store")
    return 0


def _checked(directory: Path, output: Output) -> dict[str, str] | None:
    read = whole.folder(directory)
    require_policies(read.catalogue, directory)
    errors = [f for f in lint(read.catalogue) if f.severity is Severity.ERROR]
    for finding in errors:
        output(f"{finding.origin}:{finding.line}: error [{finding.id}] {finding.text}")
    too_long = [slug for slug, text in read.texts.items() if len(text.encode()) > ADVANCED]
    for slug in too_long:
        output(f"{slug}: {len(read.texts[slug].encode())} bytes; a parameter holds {ADVANCED}")
    if errors or too_long:
        output("nothing was written")
        return None
    return read.texts


def _only_documents(texts: dict[str, str], before: dict[str, dict[str, str]]) -> None:
    """Refuse to mix layouts: every job of a pipeline that has both would be refused."""
    both = [slug for slug in texts if set(before.get(slug, {})) - {DOCUMENT}]
    if both:
        raise WrongConfiguration(
            f"the store already has separate parameters for {', '.join(both)}; a pipeline has "
            "either those or one document",
            hint="Delete a pipeline's separate parameters before pushing its document.",
        )
