"""Every row of docs/features.md: those of feature_cases.py, and those that other tests show.

The latter name a case of the contract (contract_cases.py), or a file of tests.
"""

from tests.lab.feature_cases import OWN, Feature, Verdict


def _contract(group: str, name: str, case: str, note: str = "") -> Feature:
    return Feature(group=group, name=name, verdict=Verdict.WORKS, note=note, shown=case)


def _tested(group: str, name: str, verdict: Verdict, note: str, file: str) -> Feature:
    return Feature(group=group, name=name, verdict=verdict, note=note, shown=file)


ELSEWHERE = (
    _contract("Checkout", "Checkout of a commit", "checkout"),
    _contract("Checkout", "`skip_checkout`", "no checkout"),
    _contract("Checkout", "A commit that does not exist", "a commit that does not exist",
              "the checkout fails as outside"),
    _tested("Checkout", "SSH keys", Verdict.GRANT, "`ssh-keys`: used inside, held outside",
            "tests/e2e/test_ssh.py"),
    _tested("Checkout", "Git over HTTPS", Verdict.GRANT, "`git-tokens`",
            "tests/e2e/test_git_tokens.py"),
    _contract("Commands", "Scripts of the repository", "a script of the repository"),
    _contract("Commands", "Exit statuses", "exit 255", "each but 125, which is the agent's own"),
    _contract("Commands", "Cancellation", "cancel", "hooks and artifacts still run"),
    _contract("Commands", "Timeouts", "timeout"),
    _contract("Commands", "A terminal (PTY)",
              "both PTYs, of the agent and of the bootstrap, add to newlines"),
    _contract("Commands", "`no-pty`", "every byte value", "bytes arrive as they were written"),
    _contract("Commands", "Variables of the job", "values arrive as they are",
              "but those that [change what runs](policy.md#variables-that-change-what-a-job-runs)"),
    _contract("Hooks", "Hooks of the repository", "a hook's environment"),
    _contract("Hooks", "A failing hook", "a failing pre-exit hook overrides"),
    _tested("Hooks", "Hooks of the Elastic CI Stack", Verdict.GRANT,
            "[what replaces each](install.md#on-the-elastic-ci-stack)",
            "tests/test_elastic_ci_stack.py"),
    _contract("Artifacts", "Upload and download", "artifacts up and down"),
    _contract("Artifacts", "Upload in parts", "an artifact in parts"),
    _contract("Artifacts", "`no-multipart-artifact-upload`", "an artifact as a form"),
    _contract("Agent API", "Meta-data", "meta-data"),
    _contract("Agent API", "Annotations", "annotations"),
    _contract("Agent API", "`pipeline upload`", "pipeline upload"),
    _contract("Agent API", "`step get` and `step update`", "steps"),
    _contract("Agent API", "`oidc request-token`", "oidc",
              "with `agent-api`: for the audiences of the rule"),
    _contract("Agent API", "`secret get`", "secrets", "with `agent-api`: the keys of the rule"),
    _contract("Log", "Redaction of variables", "redaction"),
    _contract("Log", "Order of output and errors", "output and errors in order"),
    _tested("Network", "Proxies that the job sets", Verdict.WORKS,
            "in a rule that grants something, `allow.env` has to list them",
            "tests/e2e/test_agent_api.py"),
    _tested("Artifacts", "Artifacts in a bucket of S3", Verdict.GRANT,
            "the rule's role, and `allow.env: [BUILDKITE_ARTIFACT_UPLOAD_DESTINATION]`",
            "tests/e2e/test_features.py"),
    _tested("Observation", "`tracing-backend` with the address of a collector", Verdict.WORKS,
            "of the agent's environment: `OTEL_EXPORTER_OTLP_ENDPOINT`, `DD_AGENT_HOST`; without "
            "`OTEL_EXPORTER_OTLP_HEADERS`, which is a credential", "tests/e2e/test_features.py"),
    _tested("Docker", "Pulls from ECR and other registries", Verdict.GRANT, "`registries`",
            "tests/e2e/test_registries.py"),
    _tested("Docker", "Databases and other servers beside a job", Verdict.GRANT,
            "[`services`](services.md)", "tests/e2e/test_services.py"),
    _tested("Docker", "Image builds, by `docker buildx` and `buildctl`", Verdict.GRANT,
            "[`builds: buildkit`](builds.md)", "tests/e2e/test_builds.py"),
    _tested("Docker", "`docker compose build --push`, `docker buildx bake`", Verdict.GRANT,
            "[`builds: buildkit`](builds.md)", "tests/e2e/test_builds_without_engine.py"),
    _tested("Docker", "`docker compose build` without `--push`; `build` and `push` of the "
            "docker-compose plugin", Verdict.REFUSED,
            "the image would go into an engine: the step's command is "
            "[one of these](builds.md#the-docker-compose-plugin)",
            "tests/e2e/test_builds_without_engine.py"),
    _tested("Docker", "`docker run`, `docker compose up`; the docker plugin, `run` of the "
            "docker-compose plugin, testcontainers", Verdict.REFUSED,
            "[why, and what instead](builds.md#why-there-is-no-docker-run)",
            "tests/e2e/test_builds_without_engine.py"),
    _tested("Docker", "podman and Docker in Docker", Verdict.REFUSED,
            "[why, and what instead](builds.md#why-there-is-no-docker-run)",
            "tests/policy/test_image_builds.py"),
)  # fmt: skip

FEATURES = (*OWN, *ELSEWHERE)
