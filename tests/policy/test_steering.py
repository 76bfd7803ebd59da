"""Which variables change what a job runs, and which jobs may set them."""

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.grants.role import Role
from bootstrap.grants.ssh_keys import SshKeys
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
    "Https_Proxy Npm_config_script_shell TAR_OPTIONS RM LDLIBS WGETRC OTEL_EXPORTER_OTLP_ENDPOINT "
    "BUILDKITE_ARTIFACT_UPLOAD_DESTINATION BUILDKITE_GCS_ACCESS_HOST AWS_BEARER_TOKEN_BEDROCK "
    "SSL_CERT_FILE TF_CLI_ARGS_apply XDG_CONFIG_HOME BUILDKITE_BOOTSTRAP_PHASES "
    "BUILDKITE_REFSPEC BUILDKITE_SKIP_CHECKOUT BUILDKITE_GIT_FETCH_FLAGS BUILDKITE_OVERRIDE_SELF "
    "BUILDKITE_PLUGIN_DOCKER_IMAGE BUILDKITE_AGENT_ARTIFACT_DELIMITER"
)
UNCHANGING = (
    "CI BUILDKITE BUILDKITE_BRANCH BUILDKITE_COMMAND BUILDKITE_PLUGINS BUILDKITE_MESSAGE "
    "BUILDKITE_ENV_FILE MODE DEPLOY_TARGET GIT_AUTHOR_NAME GIT_COMMIT PYTHONUNBUFFERED NODE_ENV "
    "TERM TZ LANG AWS_REGION ENVIRONMENT DATABASE_URL GOOGLE_PROJECT CCX PATHS LDFLAGS_X"
)
STEERING, INERT = CHANGING.split(), UNCHANGING.split()


@pytest.mark.parametrize("name", STEERING)
def test_a_steering_variable_has_a_reason(name: str) -> None:
    assert steers(name)


@pytest.mark.parametrize("name", INERT)
def test_an_inert_variable_has_no_reason(name: str) -> None:
    assert steers(name) is None


def test_a_job_without_grants_keeps_every_variable() -> None:
    assert left_out(dict.fromkeys(STEERING, ""), Grant()) == {}


def test_a_job_with_grants_keeps_only_the_steering_variables_its_rule_lists() -> None:
    all_of_them = dict.fromkeys([*STEERING, *INERT], "")
    assert set(left_out(all_of_them, Grant(kinds=(Role(granted=ROLE),)))) == set(STEERING)
    assert left_out(all_of_them, Grant(kinds=(Role(granted=ROLE),), env=("*",))) == {}
    listed = Grant(kinds=(SshKeys(granted=("ssm:/x",)),), env=("NODE_OPTIONS", "GIT_*"))
    some = dict.fromkeys(["NODE_OPTIONS", "GIT_DIR", "PATH"], "")
    assert set(left_out(some, listed)) == {"PATH"}


def test_older_name_of_the_command_is_kept_with_the_same_value_alone() -> None:
    grant = Grant(kinds=(Role(granted=ROLE),))
    env = {"BUILDKITE_COMMAND": "make", "BUILDKITE_SCRIPT_PATH": "make"}
    assert left_out(env, grant) == {}
    for other in ({**env, "BUILDKITE_SCRIPT_PATH": "rake"}, {"BUILDKITE_SCRIPT_PATH": "make"}):
        assert set(left_out(other, grant)) == {"BUILDKITE_SCRIPT_PATH"}


@pytest.mark.parametrize(("paths", "lets"), [
    ("dist/*.zip;coverage/{unit,e2e}.xml", True), ("log/**/*.txt", True), ("a.b/c.d", True),
    ("dist/**/*.{js,css}", True), ("./{lcov.info,a/report.xml};x", True), ("a..b/...", True),
    ("{{a,b},c}.txt", True), ("{{.,b},c}{.,d}/x", False), ("{a,b", False), ("{a,b}" * 20, False),
    ("", True), ("test[0-9].xml", True), ("/airlock/env", False), ("x;/airlock/secrets/*", False),
    ("../../airlock/env", False), (" /airlock/env", False), ("a/../../x", False),
    ("~/x", False), (".{.,x}/x", False), ("{.,x}./x", False), ("{..,x}/x", False),
    (r".\\./x", False), ("[.][.]/x", False), ("x/{.,a/b}{.,c}/x", False), (".{,x}./x", False),
    ("{,.}{,.}/x", False), ("$HOME/x", False),
    ("/airlock/services/*.log", True), ("x;/airlock/services/db-1.previous.log", True),
    ("/airlock/services/*", False), ("/airlock/services/**.log", False),
    ("/airlock/services/../env.log", False), ("/airlock/services/a/b.log", False),
    (" /airlock/services/*.log", False), ("/airlock/services/{a,../env}.log", False),
    ("/airlock/services/*.log;/airlock/env", False), ("/airlock/services/*.log\n", False),
    ("/airlock/services/../../etc/x.log", False), ("/airlock/services//../env.log", False),
    ("/airlock/services/*/../../env.log", False), ("/airlock/services/*.log,/airlock/env", False),
    ("/airlock/services/*.log;;x/*.txt;", True), ("/airlock/services/?.log", False),
])  # fmt: skip
def test_artifact_paths_outside_the_checkout_are_left_out(paths: str, lets: bool) -> None:  # noqa: FBT001
    found = left_out({"BUILDKITE_ARTIFACT_PATHS": paths}, Grant(kinds=(Role(granted=ROLE),)))
    assert (found == {}) is lets
    assert left_out({"BUILDKITE_ARTIFACT_PATHS": paths}, Grant()) == {}


@given(st.text("/airlock.services*{},;~$[]\\ \n\u00a0db-1", max_size=40))
def test_a_log_of_services_is_one_file_of_their_directory(rest: str) -> None:
    """Whatever is let through leads below the checkout or names `*.log` of this directory."""
    paths = f"/airlock/services/{rest}"
    grant = Grant(kinds=(Role(granted=ROLE),))
    if not left_out({"BUILDKITE_ARTIFACT_PATHS": paths}, grant):
        for path in paths.split(";"):
            directory, _, name = path.strip().rpartition("/")
            outside = path.strip().startswith(("/", "~"))
            assert ".." not in path.split("/")
            assert not outside or (directory == "/airlock/services" and name.endswith(".log"))


@pytest.mark.parametrize(("config", "lets"), [
    ("", True), ('[{"key": "a", "environment_variable": "API_TOKEN"}]', True),
    ('[{"key": "a", "environment_variable": "BASH_ENV"}]', False), ("{", False), ("[1]", False),
    ('[{"key": "a", "environment_variable": "BUILDKITE_COMMAND"}]', False),
    ('[{"environment_variable": "SAFE", "Environment_Variable": "BASH_ENV"}]', False),
    ('[{"environment_variable": "BASH_ENV", "environment_variable": null}]', False),
    ('[{"ENVIRONMENT_VARIABLE": "API_TOKEN"}]', True), ('[["environment_variable", "A"]]', False),
    ('{"environment_variable": "A"}', False), ('[{"environment_variable": 1}]', False),
    ('[{"key": "a"}]', False), ('[{"key": "a", "environment_variable": "GIT_SSH_COMMAND"}]', False),
])  # fmt: skip
def test_a_secrets_config_that_sets_steering_variables_is_left_out(
    config: str,
    lets: bool,  # noqa: FBT001
) -> None:
    found = left_out({"BUILDKITE_SECRETS_CONFIG": config}, Grant(kinds=(Role(granted=ROLE),)))
    assert (found == {}) is lets


# What the bootstrap reads and a step may set, each with the reason why.
REVIEWED = """
    BUILDKITE_AGENT_LOG_LEVEL BUILDKITE_AGENT_PROFILE       how much it logs
    BUILDKITE_AGENT_META_DATA_QUEUE BUILDKITE_AGENT_NAME    the agent's own, sent by Buildkite
    BUILDKITE_ARTIFACT_PATHS                                only of the checkout, see below
    BUILDKITE_BRANCH BUILDKITE_COMMAND BUILDKITE_COMMIT BUILDKITE_PLUGINS BUILDKITE_TAG  conditions
    BUILDKITE_REPO BUILDKITE_PULL_REQUEST BUILDKITE_JOB_ID          conditions, and checked
    BUILDKITE_ORGANIZATION_SLUG BUILDKITE_PIPELINE_SLUG             conditions, and checked
    BUILDKITE_GIT_REMOTE_MIRROR_URL                         must be one of the policy's own
    BUILDKITE_CANCEL_SIGNAL BUILDKITE_GIT_CHECKOUT_TIMEOUT BUILDKITE_PTY    how it is stopped, shown
    BUILDKITE_CLEAN_CHECKOUT BUILDKITE_PLUGINS_ALWAYS_CLONE_FRESH   less is kept
    BUILDKITE_PIPELINE_PROVIDER                             sent by Buildkite with every job
    BUILDKITE_PULL_REQUEST_HEAD_COMMIT BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC   pull requests
    BUILDKITE_SECRETS_CONFIG                                by the variables that it sets
    BUILDKITE_GIT_SUBMODULES                                part of the commit, or not
"""


@pytest.mark.lab
def test_every_variable_that_the_real_bootstrap_reads_is_reviewed() -> None:
    """A new variable of the agent makes this fail, until its effect has been reviewed."""
    shown = subprocess.run(
        [agent.binary(), "bootstrap", "--help"], capture_output=True, text=True, check=True
    ).stdout
    read = set(re.findall(r"\$([A-Z0-9_]+)", shown))
    assert len(read) > 60
    known = AGENT_NAMES | set(re.findall(r"BUILDKITE_\w+", REVIEWED))
    assert sorted(name for name in read - known if not steers(name)) == []
