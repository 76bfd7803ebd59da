"""What buildkite-agent offers, and what becomes of it in the sandbox, with a case for each.

tests/e2e/test_features.py runs them with the real agent; features.py has those shown elsewhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bootstrap.job.plugins import full_source
from tests.fakes.control_plane import JobResult
from tests.lab.contract import Case


class Verdict(StrEnum):
    """What becomes of a feature."""

    WORKS = "works"
    GRANT = "by a grant"  # of the rule, in place of what the host would lend to every job
    WARNED = "no, and the log says so"
    REFUSED = "no, with an error"
    LEFT_OUT = "no"


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """One row.

    `flags` are of the agent, where `BASE` is a directory of its host, `env` of its own environment,
    where `KMS` is the address of a KMS with its key.
    `shown` is a case of the contract (its name) or a file of tests, if there is no `case`.
    """

    group: str
    name: str
    verdict: Verdict
    note: str
    shown: str = ""
    case: Case | None = None
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    hooks: bool = False  # sandbox.hooks


def _pipelines(check: Callable[[Mapping[str, object]], bool]) -> Callable[[JobResult], None]:
    def verify(result: JobResult) -> None:
        (change,) = result.pipelines
        assert check(change["pipeline"]["steps"][0]), change

    return verify


def _artifact(path: str, content: bytes) -> Callable[[JobResult], None]:
    def verify(result: JobResult) -> None:
        assert [(a.path, a.content) for a in result.artifacts] == [(path, content)]

    return verify


_AGENT = "buildkite-agent"
_UPLOAD = f"echo 'steps: [{{command: make}}]' | {_AGENT} pipeline upload"
_HOOKS = ("--hooks-path", "BASE/hooks", "--additional-hooks-paths", "BASE/more,BASE/third")
_RUN_ONCE = "echo ran $CONTRACT_FIRST $CONTRACT_SECOND $CONTRACT_THIRD"

OWN = (
    Feature(
        group="Checkout", name="`git-mirrors-path`", verdict=Verdict.WORKS,
        note="one set of mirrors per agent, pipeline and rule, in the workspace",
        flags=("--git-mirrors-path", "BASE/mirrors"),
        case=Case(
            name="mirrors",
            command="cat .git/objects/info/alternates; test -d $BUILDKITE_REPO_MIRROR && "
            "echo the mirror is there",
            shows=(b"/mirrors/", b"\nthe mirror is there"),
        ),
    ),
    Feature(
        group="Checkout", name="`git-mirrors-skip-update`", verdict=Verdict.WARNED,
        note="the workspace's mirrors are updated: nothing else does it",
        flags=("--git-mirrors-path", "BASE/mirrors", "--git-mirrors-skip-update"),
        case=Case(
            name="mirrors that nothing updates",
            command="test -d $BUILDKITE_REPO_MIRROR && echo it is there",
            shows=(b"do nothing here: git-mirrors-skip-update", b"\nit is there"),
        ),
    ),
    Feature(
        group="Checkout", name="`git-clone-flags`, `git-fetch-flags`, `git-clean-flags`",
        verdict=Verdict.WORKS, note="as the agent has them",
        flags=("--git-clone-flags", "-v --depth=1"),
        case=Case(name="clone flags", command="git rev-parse --is-shallow-repository",
                  env={"BUILDKITE_CLEAN_CHECKOUT": "true"},
                  shows=(b"\ntrue", b"--depth=1")),
    ),
    Feature(
        group="Commands", name="`shell`", verdict=Verdict.WORKS, note="it has to be in the image",
        flags=("--shell", "/bin/sh -e -c"),
        case=Case(name="shell", command="echo shell is $0; false; echo never",
                  ending=("1", "", ""), shows=(b"shell is /bin/sh",), hides=(b"\nnever",)),
    ),
    Feature(
        group="Commands", name="`no-command-eval`", verdict=Verdict.WORKS,
        note="the bootstrap inside refuses commands that are no script of the repository",
        flags=("--no-command-eval",),
        case=Case(name="no commands", command="echo evaluated", ending=("1", "", ""),
                  hides=(b"\nevaluated",)),
    ),
    Feature(
        group="Hooks", name="`hooks-path` and `additional-hooks-paths` with `sandbox.hooks`",
        verdict=Verdict.WORKS, note="inside, read-only; in the order of the agent", hooks=True,
        flags=_HOOKS,
        case=Case(name="hooks of the agent", command=_RUN_ONCE,
                  shows=(b"\nran first second third",)),
    ),
    Feature(
        group="Hooks", name="`hooks-path` and `additional-hooks-paths` without `sandbox.hooks`",
        verdict=Verdict.LEFT_OUT, note="the default: most are written for the host", flags=_HOOKS,
        case=Case(name="no hooks of the agent", command=_RUN_ONCE, shows=(b"\nran\r",),
                  hides=(b"ran first",)),
    ),
    Feature(
        group="Hooks", name="`no-local-hooks`", verdict=Verdict.WORKS,
        note="a repository with hooks fails its jobs, as outside",
        flags=("--no-local-hooks",),
        case=Case(name="no local hooks", command="echo evaluated", ending=("1", "", ""),
                  hides=(b"\nevaluated",)),
    ),
    Feature(
        group="Plugins", name="`no-plugins`", verdict=Verdict.WORKS, note="as outside",
        flags=("--no-plugins",),
        case=Case(
            name="no plugins", command="echo evaluated", ending=("1", "", ""),
            env={"BUILDKITE_PLUGINS": '["https://git.example.com/acme/x.git#v1.0.0"]'},
            hides=(b"\nevaluated",),
        ),
    ),
    Feature(
        group="Plugins", name="Plugins of the repository (`./path`)", verdict=Verdict.WORKS,
        note="the rule's `plugin` condition sees them as they are spelled",
        case=Case(
            name="a vendored plugin", command="echo $CONTRACT_OF_PLUGIN",
            env={"BUILDKITE_PLUGINS": '[{"./plugins/greet": {"name": "Ada"}}]'},
            shows=(b"\nhello Ada",),
        ),
    ),
    Feature(
        group="Agent API", name="`buildkite-agent env` (job API)", verdict=Verdict.WORKS,
        note="its socket is in the sandbox, for this job",
        case=Case(
            name="job api",
            command=f"echo it was $({_AGENT} env get CONTRACT_X) && "
            f"{_AGENT} env set CONTRACT_X=changed && echo now $({_AGENT} env get CONTRACT_X)",
            env={"CONTRACT_X": "given"},
            shows=(b"\nit was given", b"\nnow changed"),
        ),
    ),
    Feature(
        group="Agent API", name="`buildkite-agent redactor add`", verdict=Verdict.WORKS,
        note="from then on, in everything that the job prints",
        case=Case(
            name="redactor",
            command=f"echo a-value-to-hide | {_AGENT} redactor add && "
            "echo hidden: $(printf %s a-value-)to-hide",
            shows=(b"hidden: [REDACTED]",),
        ),
    ),
    Feature(
        group="Agent API", name="`buildkite-agent lock`", verdict=Verdict.REFUSED,
        note="locks of the host's agents would lead from one rule's jobs to others'; what a job "
        "shares with others is its workspace, which one job has at a time",
        case=Case(
            name="lock", command=f"{_AGENT} lock acquire shared", ending=("1", "", ""),
            shows=(b"could not connect to Agent API",),
        ),
    ),
    Feature(
        group="Signed pipelines", name="Uploads signed by `signing-jwks-file`",
        verdict=Verdict.WARNED, note="the private key stays outside, and what the job uploads is "
        "not signed: sign with a key of AWS KMS",
        flags=("--signing-jwks-file", "BASE/private.json", "--signing-jwks-key-id", "contract"),
        case=Case(
            name="uploads are not signed", command=_UPLOAD,
            shows=(b"do nothing here: signing-jwks-file",),
            check=_pipelines(lambda step: "signature" not in step),
        ),
    ),
    Feature(
        group="Signed pipelines", name="`signing-aws-kms-key`", verdict=Verdict.GRANT,
        note="the key's name is passed on; the rule's role needs `kms:Sign`",
        case=Case(
            name="kms", command="echo the key is $BUILDKITE_AGENT_AWS_KMS_KEY",
            shows=(b"\nthe key is alias/contract",),
        ),
        flags=("--signing-aws-kms-key", "alias/contract",
               "--verification-failure-behavior", "warn"), env={
            "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "of-the-agent",
            "AWS_SECRET_ACCESS_KEY": "of-the-agent", "AWS_ENDPOINT_URL_KMS": "KMS",
        },
    ),
    Feature(
        group="Signed pipelines", name="Verification of jobs (`verification-jwks-file`)",
        verdict=Verdict.WORKS, note="by the agent, before Airlock is started",
        flags=("--verification-jwks-file", "BASE/public.json"),
        case=Case(name="verification", command="echo evaluated",
                  ending=("-1", "", "signature_rejected"), hides=(b"evaluated",)),
    ),
    Feature(
        group="Observation", name="`tracing-backend` without an address of a collector",
        verdict=Verdict.WARNED,
        note="the default is a port of the host itself, which no job reaches: the bootstrap would "
        "wait for it at its end",
        flags=("--tracing-backend", "opentelemetry"),
        case=Case(
            name="tracing to nowhere",
            command="echo back end: ${BUILDKITE_TRACING_BACKEND:-none}",
            shows=(b"\nback end: none", b"do nothing here: tracing-backend"),
        ),
    ),
    Feature(
        group="Network", name="Proxies of the agent's own environment (`HTTPS_PROXY`)",
        verdict=Verdict.LEFT_OUT, note="nothing of the agent's environment but its settings is "
        "passed on; set them in the image or the pipeline",
        env={"NO_PROXY": "of-the-agent"},
        case=Case(name="proxies", command="echo proxy: ${NO_PROXY:-none}",
                  shows=(b"\nproxy: none",)),
    ),
    Feature(
        group="Artifacts", name="`artifact_paths` of the step, with a glob", verdict=Verdict.WORKS,
        note="uploaded by the bootstrap inside",
        case=Case(
            name="artifacts of a glob", command="mkdir -p a/b && echo x > a/b/c.txt",
            env={"BUILDKITE_ARTIFACT_PATHS": "a/**/*.txt"}, check=_artifact("a/b/c.txt", b"x\n"),
        ),
    ),
    Feature(
        group="Docker", name="The host's Docker", verdict=Verdict.LEFT_OUT,
        note="its socket is root on the host",
        case=Case(
            name="no docker", command="ls /var/run/docker.sock || env | grep ^DOCKER || true",
            shows=(b"No such file or directory",), hides=(b"DOCKER_HOST=",),
        ),
    ),
    Feature(
        group="Docker", name="The plugins docker and docker-compose", verdict=Verdict.WARNED,
        note="[what takes their place](builds.md#why-there-is-no-docker-run)",
        flags=("--no-plugins",),  # nothing is fetched
        case=Case(
            name="plugins that call an engine", command="true", ending=("1", "", ""),
            env={"BUILDKITE_PLUGINS": f'["{full_source("docker#v5.13.0")}"]'},
            shows=(b"plugins that call a Docker Engine, which no job has: docker. ",),
        ),
    ),
    Feature(
        group="Docker", name="Builds without a daemon, by kaniko or buildah",
        verdict=Verdict.REFUSED, note="kaniko unpacks images into the root of its container, as "
        "its root; buildah mounts, in a user namespace. No job may: "
        "[`builds: buildkit`](builds.md)",
        case=Case(
            name="no root and no user namespace",
            command="touch /unpacked || unshare --user true || unshare --map-root-user true",
            ending=("1", "", ""),
            shows=(b"Read-only file system", b"unshare failed: Operation not permitted"),
        ),
    ),
)  # fmt: skip
