"""Which variables change what a job runs, and who may bring them."""

import re
import subprocess

import pytest

from bootstrap.job.assemble import AGENT_NAMES
from bootstrap.policy.model import Grant
from bootstrap.policy.steering import left_out, steers
from tests.lab import agent

ROLE = "arn:aws:iam::111122223333:role/x"

# Each was tried or is documented to run code, or to lead a program elsewhere, by its value alone.
CHANGING = (
    "BASH_ENV ENV PS4 PATH GIT_SSH_COMMAND GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_EXEC_PATH GIT_DIR "
    "LD_PRELOAD LD_LIBRARY_PATH PYTHONPATH PYTHONSTARTUP PIP_INDEX_URL NODE_OPTIONS "
    "npm_config_registry NPM_CONFIG_REGISTRY PERL5OPT PERL5LIB RUBYOPT JAVA_TOOL_OPTIONS "
    "_JAVA_OPTIONS MAVEN_OPTS GOFLAGS GOPROXY MAKEFLAGS CC RUSTC_WRAPPER CARGO_HOME "
    "DOCKER_HOST AWS_ENDPOINT_URL AWS_ENDPOINT_URL_STS AWS_CA_BUNDLE https_proxy HTTPS_PROXY "
    "SSL_CERT_FILE TF_CLI_ARGS_apply XDG_CONFIG_HOME BUILDKITE_BOOTSTRAP_PHASES "
    "BUILDKITE_REFSPEC BUILDKITE_SKIP_CHECKOUT BUILDKITE_GIT_FETCH_FLAGS BUILDKITE_OVERRIDE_SELF "
    "BUILDKITE_PLUGIN_DOCKER_IMAGE"
)
UNCHANGING = (
    "CI BUILDKITE BUILDKITE_BRANCH BUILDKITE_COMMAND BUILDKITE_PLUGINS BUILDKITE_MESSAGE "
    "BUILDKITE_ENV_FILE MODE DEPLOY_TARGET GIT_AUTHOR_NAME GIT_COMMIT PYTHONUNBUFFERED NODE_ENV "
    "TERM TZ LANG AWS_REGION ENVIRONMENT DATABASE_URL GOOGLE_PROJECT CCX PATHS LDFLAGS_X"
)
STEERING, INERT = CHANGING.split(), UNCHANGING.split()


@pytest.mark.parametrize("name", STEERING)
def test_it_changes_what_a_job_runs(name: str) -> None:
    assert steers(name)


@pytest.mark.parametrize("name", INERT)
def test_it_does_not(name: str) -> None:
    assert steers(name) is None


def test_a_job_without_grants_may_bring_anything() -> None:
    assert left_out(STEERING, Grant()) == {}


def test_a_job_with_grants_brings_what_its_rule_lists() -> None:
    assert set(left_out([*STEERING, *INERT], Grant(role=ROLE))) == set(STEERING)
    assert left_out(STEERING, Grant(role=ROLE, env=("*",))) == {}
    listed = Grant(ssh_keys=("ssm:/x",), env=("NODE_OPTIONS", "GIT_*"))
    assert set(left_out(["NODE_OPTIONS", "GIT_DIR", "PATH"], listed)) == {"PATH"}


# What the bootstrap reads and a step may set, each with the reason why it may.
REVIEWED = """
    BUILDKITE_AGENT_LOG_LEVEL BUILDKITE_AGENT_PROFILE       how much it logs
    BUILDKITE_AGENT_META_DATA_QUEUE BUILDKITE_AGENT_NAME    the agent's own, sent by Buildkite
    BUILDKITE_ARTIFACT_PATHS BUILDKITE_ARTIFACT_UPLOAD_DESTINATION    what the job gives away
    BUILDKITE_BRANCH BUILDKITE_COMMAND BUILDKITE_COMMIT BUILDKITE_PLUGINS BUILDKITE_TAG  conditions
    BUILDKITE_REPO BUILDKITE_PULL_REQUEST BUILDKITE_JOB_ID          conditions, and checked
    BUILDKITE_ORGANIZATION_SLUG BUILDKITE_PIPELINE_SLUG             conditions, and checked
    BUILDKITE_GIT_REMOTE_MIRROR_URL                         has to be one of the policy's own
    BUILDKITE_CANCEL_SIGNAL BUILDKITE_GIT_CHECKOUT_TIMEOUT BUILDKITE_PTY    how it is ended, shown
    BUILDKITE_CLEAN_CHECKOUT BUILDKITE_PLUGINS_ALWAYS_CLONE_FRESH   less is kept
    BUILDKITE_PIPELINE_PROVIDER                             sent by Buildkite with every job
    BUILDKITE_PULL_REQUEST_HEAD_COMMIT BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC   pull requests
    BUILDKITE_SECRETS_CONFIG                                names of Buildkite's own secrets
    BUILDKITE_TRACE_CONTEXT_ENCODING BUILDKITE_TRACING_BACKEND    tracing
    BUILDKITE_TRACING_PROPAGATE_TRACEPARENT BUILDKITE_TRACING_SERVICE_NAME    tracing
    BUILDKITE_TRACING_TRACEPARENT BUILDKITE_TRACING_TRACESTATE    tracing
"""


@pytest.mark.lab
def test_everything_that_the_real_bootstrap_reads_has_been_looked_at() -> None:
    """An agent that obeys a new variable makes this fail: somebody has to say what it changes."""
    told = subprocess.run(
        [agent.binary(), "bootstrap", "--help"], capture_output=True, text=True, check=True
    ).stdout
    read = set(re.findall(r"\$([A-Z0-9_]+)", told))
    assert len(read) > 60
    known = AGENT_NAMES | set(re.findall(r"BUILDKITE_\w+", REVIEWED))
    assert sorted(name for name in read - known if not steers(name)) == []
