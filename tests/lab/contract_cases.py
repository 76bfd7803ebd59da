"""All cases of the contract: endings, bytes of the log, surroundings, calls to the agent API."""

import hashlib
import re

from tests.fakes.control_plane import JobResult
from tests.lab.contract import Case
from tests.lab.contract_endings import CANCELS, ENDINGS

# Bytes.

# No two newlines meet a group header or a redacted value; every byte value is there, twice over.
_BYTES = bytes(range(256)) * 2
_BIG = 3_000_000


def _every_byte(result: JobResult) -> None:
    assert b"<" + _BYTES + b">" in result.log


def _three_megabytes(result: JobResult) -> None:
    body = result.log.partition(b"\nBEGIN\n")[2].partition(b"\nEND\n")[0]
    assert len(body) == _BIG
    digest = re.search(rb"\nsha256 ([0-9a-f]{64})", result.log)
    assert digest is not None
    assert hashlib.sha256(body).hexdigest().encode() == digest[1]


def _in_order(result: JobResult) -> None:
    found = re.findall(rb"^(out|err) (\d+)\r*$", result.log, re.MULTILINE)
    assert found == [(kind, b"%d" % i) for i in range(1, 201) for kind in (b"out", b"err")]


BYTES = (
    Case(
        name="every byte value",
        command=r"printf '<'; for i in 1 2; do for x in $(seq 0 255); do "
        r"printf \\x$(printf %02x $x); done; done; echo '>'",
        pty=False,
        check=_every_byte,
    ),
    Case(
        name="3 MB",
        # Lines of base64: random, so that no two chunks are alike.
        command=f"head -c {_BIG} /dev/urandom | base64 | head -c {_BIG} > big; echo BEGIN; "
        "cat big; echo; echo END; echo sha256 $(sha256sum < big)",
        pty=False,
        check=_three_megabytes,
    ),
    Case(
        name="both PTYs, of the agent and of the bootstrap, add to newlines",
        command="test -t 1; printf 'a\\nb\\n'",
        shows=(b"a\r\r\nb\r\r\n",),
    ),
    Case(
        name="output and errors in order",
        command="for i in $(seq 200); do echo out $i; echo err $i >&2; done",
        check=_in_order,
    ),
    Case(
        name="output and errors in order without a PTY",
        command="for i in $(seq 200); do echo out $i; echo err $i >&2; done",
        pty=False,
        check=_in_order,
    ),
)


# The environment of the job.

_ODD = "first\nsecond\r\n'single' \"double\" `back` $HOME \\n %q a=b  🚀 naïve "


def _odd_value(result: JobResult) -> None:
    assert result.meta_data["odd"] == _ODD


SURROUNDINGS = (
    Case(
        name="checkout",
        command="git rev-parse HEAD; test $(git rev-parse HEAD) = $BUILDKITE_COMMIT "
        "&& cat README.md",
        shows=(b"\na storefront",),
    ),
    Case(
        name="values arrive as they are",
        command='printf %s "$CONTRACT_ODD" | buildkite-agent meta-data set odd',
        env={"CONTRACT_ODD": _ODD},
        check=_odd_value,
    ),
    Case(
        name="a hook's environment",
        command='echo "$CONTRACT_FROM_HOOK" | tail -1; echo ${#CONTRACT_FROM_HOOK} characters',
        shows=(b"\nlines", b"\n9 characters"),
    ),
    Case(
        name="redaction",
        command="echo the token is $CONTRACT_TOKEN",
        env={"CONTRACT_TOKEN": "the-contracts-token"},
        shows=(b"the token is [REDACTED]",),
        hides=(b"the-contracts-token",),
    ),
    Case(
        name="no checkout",
        command="echo nothing was fetched",
        env={"BUILDKITE_SKIP_CHECKOUT": "true"},
        shows=(b"Skipping checkout", b"nothing was fetched"),
        hides=(b"git fetch",),
    ),
    Case(
        name="standard input never answers",
        command="if read -t 1 line; then echo it sent $line; else echo nothing came; fi",
        shows=(b"\nnothing came",),
    ),
)


# What the job calls.

_AGENT = "buildkite-agent"


def _meta_data(result: JobResult) -> None:
    assert result.meta_data["colour"] == "blue"
    assert result.meta_data["shape"] == "round"


def _artifacts(result: JobResult) -> None:
    (found,) = result.artifacts
    assert (found.path, found.state, found.content) == ("out/a.txt", "finished", b"an artifact\n")


def _big_artifact(result: JobResult) -> None:
    (found,) = result.artifacts
    assert len(found.content) == 11_000_000
    assert hashlib.sha256(found.content).hexdigest() == result.meta_data["sum"]


def _annotation(result: JobResult) -> None:
    assert result.annotations == {"c": "hello *there*, and more"}


def _pipeline(result: JobResult) -> None:
    (change,) = result.pipelines
    assert change["pipeline"]["steps"][0]["command"] == "echo $HOME"


CALLS = (
    Case(
        name="meta-data",
        command=f"{_AGENT} meta-data set colour blue && {_AGENT} meta-data set shape round && "
        f"{_AGENT} meta-data exists colour && echo it is $({_AGENT} meta-data get colour) && "
        f"{_AGENT} meta-data keys && {_AGENT} meta-data get nothing --default fallback",
        shows=(b"\nit is blue", b"\nfallback"),
        check=_meta_data,
    ),
    Case(
        name="artifacts up and down",
        command="mkdir -p out && echo an artifact > out/a.txt && "
        f"{_AGENT} artifact upload 'out/*.txt' && rm -r out && "
        f"{_AGENT} artifact download 'out/*.txt' . && cat out/a.txt",
        shows=(b"\nan artifact",),
        check=_artifacts,
    ),
    Case(
        name="an artifact as a form",
        command="mkdir -p out && echo an artifact > out/a.txt && "
        f"{_AGENT} artifact upload 'out/*.txt'",
        env={"BUILDKITE_NO_MULTIPART_ARTIFACT_UPLOAD": "true"},
        check=_artifacts,
    ),
    Case(
        name="an artifact in parts",
        command="head -c 11000000 /dev/urandom > big && "
        f"{_AGENT} meta-data set sum $(sha256sum big | cut -d ' ' -f 1) && "
        f"{_AGENT} artifact upload big",
        check=_big_artifact,
    ),
    Case(
        name="artifact paths of the step",
        command="mkdir -p out && echo an artifact > out/a.txt; exit 4",
        env={"BUILDKITE_ARTIFACT_PATHS": "out/*.txt"},
        ending=("4", "", ""),
        check=_artifacts,
    ),
    Case(
        name="annotations",
        command=f"{_AGENT} annotate 'hello *there*' --context c && "
        # Not at the argument's end, where docs/agent-contract.md#agent-3-and-agent-4 differ.
        f"{_AGENT} annotate ', and more' --context c --append && "
        f"{_AGENT} annotate gone --context d && {_AGENT} annotation remove --context d",
        check=_annotation,
    ),
    Case(
        name="pipeline upload",
        command=f"echo 'steps: [{{command: \"echo $$HOME\"}}]' | {_AGENT} pipeline upload",
        check=_pipeline,
    ),
    Case(
        name="oidc",
        command=f"{_AGENT} oidc request-token --audience sts.amazonaws.com --skip-redaction > t && "
        "cut -d . -f 2 t | tr '_-' '/+' | base64 -d 2>/dev/null | tr , '\\n'",
        shows=(b'"aud": "sts.amazonaws.com"', b'"pipeline_slug": "storefront"'),
    ),
    Case(
        name="secrets",
        command=f"echo length $({_AGENT} secret get CONTRACT | wc -c); "
        f"echo value $({_AGENT} secret get CONTRACT); {_AGENT} secret get NONE || echo none",
        shows=(b"\nlength 24", b"value [REDACTED]", b"\nnone"),
        hides=(b"a secret of the cluster",),
    ),
    Case(
        name="steps",
        command=f"{_AGENT} step update label Shipped && echo now $({_AGENT} step get label)",
        shows=(b"\nnow Shipped",),
    ),
)

CASES = (*ENDINGS, *CANCELS, *BYTES, *SURROUNDINGS, *CALLS)
