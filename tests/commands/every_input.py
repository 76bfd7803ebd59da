"""Runs one command in this process on many broken inputs, and prints surprises.

The command is a verb of `airlock policy`, or one of OTHERS.

    python -m tests.commands.every_input COMMAND

One process for all inputs of a verb: starting one for each would take minutes.
"""

import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bootstrap import cli
from tests.job.given import job_env
from tests.policy import corpus, large

OTHERS = {"why": ["why"], "export": ["record", "export"]}
EXPECTED = {0, 1, 2, 77, 78, 125}
NASTY = [
    b"", b"\xff\xfe", b"\0", b"null", b"[]", b"[" * 3000, b"{" * 3000, b"- " * 3000, b"a: &x [*x]",
    b"!!python/object:os.system x", b"? [a]\n: b", b"a: |\n\tx", b"pipeline: [1]\nrules: {a: b}",
    b"1e999", b'{"env": "\\ud800"}', b"\xe2\x80\xa8", b"%YAML 9.9\n---\na", b"'" + b"x" * 70_000,
    b"A=1\n" * 9, b'BUILDKITE_PIPELINE_SLUG="a"\n',
]  # fmt: skip


STEPS = (
    "env: {A: $B}", "steps:", "- {command: 'make ${C:-d}', matrix: [a, b], plugins: [x#v1: {}]}",
)  # fmt: skip


def inputs() -> Iterator[bytes]:
    """Yield hand-written inputs, then valid ones that are cut, repeated and changed."""
    yield from NASTY
    chance = random.Random(7)  # noqa: S311 - the same inputs each time
    valid = [large.document(3), corpus.document(1), corpus.GUARDRAILS, corpus.cases(1)]
    record = {"schema": 3, "env": job_env(), "events": [{"event": "denied", "reasons": []}]}
    jobs = (json.dumps({"env": job_env()}), json.dumps(record), "\n".join(STEPS))
    texts = [text.encode() for text in (*valid, *jobs)]
    for _ in range(60):
        text = bytearray(chance.choice(texts))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(text))
            end = min(len(text), at + chance.randrange(30))
            text[at:end] = chance.choice(
                [b"", text[at:end] * 2, b"{", b"]", b": ", b"\n", b"\xc3", b"!", b"&a", b'"', b"\0"]
            )
        yield bytes(text)


def arguments(verb: str, base: Path) -> list[list[str]]:
    """Return what may follow the verb; every file that it names has the same content."""
    folder, file = str(base / "policies"), str(base / "policies/storefront.yaml")
    out = str(base / "out")
    known = {
        "explain": [file, "--policies", folder],
        "diff": [folder, folder],
        "who-can": ["*", "--policies", folder],
        "report": [folder, "--output", out + ".html", "--accounts", file],
        "iam": [folder, "--host-role", "arn:aws:iam::999988887777:role/agents", "--drift", file],
        "draft": [out, "--records", folder],
        "init": [out, "storefront", "--repository", "git@github.com:acme/a.git"],
        "pull": [out, "--config", file],
        "push": [folder, "--config", file],
        "simulate": [folder, "--records", folder],
        "schema": [],
        "export": [str(base / "policies/a.json")],
    }
    if verb == "why":
        job = str(base / "policies/a.json")
        step = [str(base / "policies/pipeline.yml"), folder, "--step", "1"]
        return [[file, folder], [job, folder], step, [job, folder, "--kind", "record"]]
    if verb == "import":
        sources = ("--ssm", "--trust", "--steps")
        return [[out, source, file, "--pipeline", "p"] for source in sources]
    return [known.get(verb, [folder])]


def main(verb: str) -> None:
    for content in inputs():
        with tempfile.TemporaryDirectory(prefix="airlock-any-") as name:
            base = Path(name)
            (base / "policies").mkdir()
            names = ("storefront.yaml", "storefront.test.yaml", "guardrails.yaml", "a.json",
                     "pipeline.yml")  # fmt: skip
            for file in names:
                (base / "policies" / file).write_bytes(content)
            for rest in arguments(verb, base):
                status = run(verb, rest)
                if status not in EXPECTED:
                    print(f"SURPRISE {status}: {content[:300]!r}", file=sys.stderr)


def run(verb: str, rest: list[str]) -> object:
    """Return the status, or the exception that would have been a traceback."""
    sys.argv = ["airlock", *OTHERS.get(verb, ["policy", verb]), *rest]
    try:
        return cli.main()
    except SystemExit as ended:
        return ended.code
    except Exception as raised:  # noqa: BLE001 - any is what this looks for
        return repr(raised)


if __name__ == "__main__":
    main(sys.argv[1])
