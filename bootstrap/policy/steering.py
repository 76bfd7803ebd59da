"""Variables by which a job runs, fetches or trusts something its rule's conditions do not name.

A rule may name one command, one plugin or a verified commit. Everyone who starts a build, or edits
a step, sets variables beside those, and each of these changes what the same command does. So a job
whose rule grants anything does not get them, unless the rule lists them in `allow.env`.

The table cannot know the variables of every program that a job may run: a condition on a command
binds as far as these names go.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from bootstrap.grants.kind import DECIDED
from bootstrap.policy.glob import beginnings, matches
from bootstrap.policy.guardrails import is_empty
from bootstrap.policy.model import Grant

_TABLE: Mapping[str, str] = {
    "the dynamic loader and the C library load code or data that it names": """
        LD_* GLIBC_TUNABLES GCONV_PATH LOCPATH NLSPATH HOSTALIASES LOCALDOMAIN RES_OPTIONS
    """,
    "shells run what it holds or names, or find other programs": """
        BASH_ENV ENV ZDOTDIR PATH CDPATH FPATH GLOBIGNORE PS4 PROMPT_COMMAND BASH_XTRACEFD FUNCNEST
    """,
    "git runs, reads or trusts what it names": """
        GIT_* SSH_* SVN_SSH CVS_RSH RSYNC_* HGRCPATH GNUPGHOME
    """,
    "programs read their settings from where it points": """
        XDG_* EDITOR VISUAL PAGER MANPAGER BROWSER LESSOPEN LESSCLOSE LESS TAR_OPTIONS WGETRC
        PSQLRC AWKPATH AWKLIBPATH GIO_*
    """,
    "it decides which certificates TLS trusts, or where connections go": """
        OPENSSL_* SSL_CERT_* SSLKEYLOGFILE CURL_CA_BUNDLE CURL_HOME CURL_SSL_BACKEND
        REQUESTS_CA_BUNDLE HTTP_PROXY HTTPS_PROXY ALL_PROXY FTP_PROXY NO_PROXY OTEL_*
    """,
    "AWS clients call, trust or run what it names": """
        AWS_ENDPOINT_URL* AWS_CA_BUNDLE AWS_DATA_PATH AWS_PAGER AWS_CLI_* AWS_BEARER_TOKEN_*
    """,
    "Python and its installers run, load or fetch what it names": """
        PYTHON* PIP_* PIPX_* UV_* POETRY_* PIPENV_* PDM_* CONDA_* VIRTUALENV_* TWINE_* PYTEST_*
        COVERAGE_PROCESS_START MPLBACKEND
    """,
    "Node and its package managers run, load or fetch what it names": """
        NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED NODE_REPL_*
        NODE_COMPILE_CACHE NPM_* YARN_* PNPM_* COREPACK_* BUN_* DENO_* ELECTRON_RUN_AS_NODE
        NVM_* TURBO_*
    """,
    "Perl loads and runs what it names": "PERL5* PERLLIB PERL_* PERLBREW_* HARNESS_*",
    "Ruby and its package managers load, run or fetch what it names": """
        RUBYOPT RUBYLIB RUBYPATH RUBYSHELL RUBYGEMS_* GEM_* GEMRC BUNDLE_* BUNDLER_* SPEC_OPTS
    """,
    "Java and its build tools run or load what it holds": """
        JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS JDK_JAVAC_OPTIONS JAVA_OPTS JAVA_HOME
        CLASSPATH MAVEN_* M2_HOME GRADLE_* ORG_GRADLE_* SBT_* ANT_* KOTLIN_* SCALA_*
    """,
    "Go runs or fetches what it names": """
        GOFLAGS GOENV GOROOT GOPATH GOPROXY GONOPROXY GOPRIVATE GOSUMDB GONOSUMDB GONOSUMCHECK
        GOINSECURE GOVCS GOAUTH GOTOOLCHAIN GOWORK GOMODCACHE GOTOOLDIR GOBIN CGO_*
    """,
    "make and compilers run or load what it names": """
        MAKEFLAGS GNUMAKEFLAGS MAKEFILES MFLAGS MAKESHELL SHELL CC CXX CPP LD AR AS RANLIB NM
        FC YACC LEX RM LDLIBS LOADLIBES CONFIG_SHELL CONFIG_SITE
        CFLAGS CXXFLAGS CPPFLAGS LDFLAGS COMPILER_PATH GCC_* CPATH *_INCLUDE_PATH LIBRARY_PATH
        CMAKE_* CTEST_* NINJA_* PKG_CONFIG* CCACHE_* SCCACHE_*
    """,
    "Rust runs, loads or fetches what it names": """
        RUSTC RUSTC_* RUSTDOC RUSTFLAGS RUSTDOCFLAGS RUSTUP_* CARGO_* CARGO
    """,
    "the language's runtime loads or runs what it names": """
        PHPRC PHP_INI_SCAN_DIR COMPOSER_* LUA_* R_PROFILE* R_ENVIRON* R_LIBS* JULIA_* TCLLIBPATH
        DOTNET_* CORECLR_* COR_* COMPlus_* NUGET_* MSBUILD* ERL_* ELIXIR_* MIX_* HEX_*
    """,
    "the tool runs, fetches or trusts what it names": """
        DOCKER_* BUILDX_* BUILDKIT_* COMPOSE_* CONTAINER_HOST CONTAINERS_* REGISTRY_AUTH_FILE
        TF_CLI_* TF_PLUGIN_* TF_REATTACH_PROVIDERS TF_DATA_DIR TERRAFORM_* TERRAGRUNT_* TG_*
        ANSIBLE_* KUBECONFIG KUBE_EDITOR HELM_* PULUMI_* CDK_DOCKER SAM_CLI_* CLOUDSDK_*
        BAZEL* NIX_* ASDF_* MISE_*
    """,
    "the agent's bootstrap takes settings from it": """
        BUILDKITE_AGENT_NO_JOB_API BUILDKITE_BOOTSTRAP_PHASES BUILDKITE_BUILD_CHECKOUT_PATH
        BUILDKITE_COMMIT_RESOLVED BUILDKITE_DOCKER* BUILDKITE_KUBERNETES_EXEC
        BUILDKITE_NO_LOCAL_HOOKS BUILDKITE_OVERRIDE_SELF BUILDKITE_REFSPEC BUILDKITE_SKIP_CHECKOUT
        BUILDKITE_GIT_CHECKOUT_FLAGS BUILDKITE_GIT_CLEAN_FLAGS BUILDKITE_GIT_CLONE_FLAGS
        BUILDKITE_GIT_FETCH_FLAGS BUILDKITE_GIT_COMMIT_VERIFICATION BUILDKITE_GIT_SPARSE_CHECKOUT_*
        BUILDKITE_GIT_SKIP_FETCH_EXISTING_COMMITS BUILDKITE_TRACING_* BUILDKITE_TRACE_*
        BUILDKITE_GIT_LFS_ENABLED BUILDKITE_GIT_SSH_KEY BUILDKITE_USE_*_GIT_CREDENTIALS
        BUILDKITE_PLUGIN_* BUILDKITE_HOOK_* BUILDKITE_SCRIPT_PATH
    """,
    "it decides where artifacts are uploaded or downloaded, or with which credentials": """
        BUILDKITE_S3_* BUILDKITE_GS_* BUILDKITE_GCS_* BUILDKITE_AZURE_BLOB_* BUILDKITE_ARTIFACTORY_*
        BUILDKITE_ARTIFACT_UPLOAD_DESTINATION
    """,
    "it decides where one path of artifacts ends and the next, of any place, begins": """
        BUILDKITE_AGENT_ARTIFACT_DELIMITER
    """,
}

# Variables that match the patterns above but change nothing of the kind.
_INERT = """
    GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE GIT_BRANCH GIT_COMMIT GIT_COMMITTER_NAME
    GIT_COMMITTER_EMAIL GIT_COMMITTER_DATE GIT_DESCRIBE GIT_HASH GIT_LFS_SKIP_SMUDGE GIT_REF
    GIT_REVISION GIT_SHA GIT_TAG GIT_TERMINAL_PROMPT GIT_VERSION
    PYTHONDONTWRITEBYTECODE PYTHONFAULTHANDLER PYTHONHASHSEED PYTHONIOENCODING PYTHONUNBUFFERED
    PYTHONUTF8 PYTHON_VERSION MIX_ENV
    CARGO_TERM_COLOR CARGO_INCREMENTAL DOTNET_CLI_TELEMETRY_OPTOUT DOTNET_NOLOGO
    PIP_DISABLE_PIP_VERSION_CHECK PIP_NO_CACHE_DIR PIP_NO_INPUT PIP_PROGRESS_BAR PIP_QUIET
    DOCKER_BUILDKIT BUILDKIT_PROGRESS COMPOSE_PROJECT_NAME
    BUILDKITE_PLUGIN_VALIDATION
"""
_UNCHANGING = frozenset(_INERT.split())

# Programs read these whatever their case.
_ANY_CASE = ("*_PROXY", "NPM_*")

_PATTERNS = tuple(
    (pattern, reason) for reason, listed in _TABLE.items() for pattern in listed.split()
)
_EXACT = {pattern: reason for pattern, reason in _PATTERNS if "*" not in pattern}
_GLOBS = tuple((pattern, reason) for pattern, reason in _PATTERNS if "*" in pattern)
_ENDS = tuple(pattern for pattern, _ in _GLOBS if pattern.startswith("*"))
_BEGINNINGS = beginnings(pattern for pattern, _ in _GLOBS if pattern not in _ENDS)


def steers(name: str) -> str | None:
    """Return what the variable can change about a job, or None if it is not in the table."""
    if name in _UNCHANGING:
        return None
    if any(matches(pattern, name.upper()) for pattern in _ANY_CASE):
        name = name.upper()
    if name in _EXACT:
        return _EXACT[name]
    if not name.startswith(_BEGINNINGS) and not any(matches(pattern, name) for pattern in _ENDS):
        return None
    return next((reason for pattern, reason in _GLOBS if matches(pattern, name)), None)


# Variables of credentials: their names may match a whole family's pattern above. Not GIT_ASKPASS,
# GIT_CONFIG_KEY_0, PYTHONUSERBASE, NPM_CONFIG_USERCONFIG and the like.
_CREDENTIALS = re.compile(
    r"(?:\A|_)(?:(?:TOKEN|PASSWORD|SECRET|CREDENTIALS?)"
    r"(?:_(?!FILE|PATH|PROVIDER|HELPER|COMMAND|CMD|PROCESS|PROGRAM|DRIVER|STORE)[A-Z0-9]+)?"
    r"|KEY(?:_ID)?|PASS|PASSPHRASE|AUTH|USER|USERNAME|LOGIN|EMAIL)\Z"
)
_ALWAYS = frozenset({"IFS", "HOME", "SHELLOPTS", "BASHOPTS", "TMPDIR"})


def is_credential(name: str) -> bool:
    """Say whether a variable is named as those of credentials are."""
    return _CREDENTIALS.search(name) is not None


def changes(name: str) -> str:
    """Return what a secret in this variable would change, "" for nothing or for a credential's."""
    if name in _ALWAYS:
        return "shells and programs find or split by it what they run"
    if name.startswith("BUILDKITE_") and not _CREDENTIALS.search(name):
        return "the agent decides by it what it runs"
    return "" if _CREDENTIALS.search(name) else steers(name) or ""


def let_through(grant: Grant) -> tuple[str, ...]:
    """Return what the rule lets change which code its jobs run: of `env`, and of `secrets`."""
    listed = [name for name in grant.env if "*" in name or steers(name)]
    return (*listed, *(n for kind in grant.kinds for n in kind.variables() if changes(n)))


_BRACES = re.compile(r"\{([^{}]*)\}")
# Of one glob with braces: its spellings, braces and characters. A job chooses them, and what they
# take is Airlock's memory and processors, not the job's.
_MANY, _PAIRS, _LONGEST = 1000, 10, 2000
# A dot may be escaped or in a class; a tilde is a home directory, a dollar a variable.
_DOUBTFUL = re.compile(r"^\s*[/~]|[\\${}]|\[[^\[\]]*\.")
# Where a job finds what its service containers print (sandbox/companions), and nothing else.
_LOGS = re.compile(r"/airlock/services/(?:\*|[a-z0-9-]+(?:\.previous)?)\.log", re.ASCII)


def stays_inside(glob: str) -> bool:
    """Return whether a glob of artifacts certainly matches only files below the checkout.

    `{.,x}./` is `../` to the agent, so braces are expanded first.
    """
    if "{" in glob and (len(glob) > _LONGEST or glob.count("{") > _PAIRS):
        return False
    spellings = [glob]
    while found := next(filter(None, map(_BRACES.search, spellings)), None):
        whole, choices = found[0], found[1].split(",")
        if len(spellings) * len(choices) > _MANY:
            return False
        spellings = [s.replace(whole, choice, 1) for s in spellings for choice in choices]
    return not any(_DOUBTFUL.search(s) or ".." in s.split("/") for s in spellings)


def _is_no_secret(glob: str) -> bool:
    """Of all that is outside of the checkout, the logs of service containers hold no grant."""
    return stays_inside(glob) or _LOGS.fullmatch(glob) is not None


def _by_value(name: str, value: str, grant: Grant) -> str | None:
    """Return what the variable changes, if that depends on its value."""
    match name:
        case "BUILDKITE_ARTIFACT_PATHS" if not all(map(_is_no_secret, value.split(";"))):
            return "files outside of the checkout, such as the rule's secrets, would be uploaded"
        case "BUILDKITE_SECRETS_CONFIG" if not _sets_nothing_else(value, grant):
            return "it sets variables that change what the job runs"
        case _:
            return None


def _sets_nothing_else(config: str, grant: Grant) -> bool:
    """Return whether Buildkite's own secrets set only variables that a step may set too."""
    try:
        entries = [_names(entry) for entry in json.loads(config, object_pairs_hook=list)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return not config.strip()
    names = [name for entry in entries for name in entry]
    if not (all(entries) and all(isinstance(name, str) for name in names)):
        return False
    return not any(steers(n) or n in DECIDED for n in names if not _listed(n, grant))


def _names(entry: list[tuple[str, Any]]) -> list[Any]:
    """Return every variable that the agent could read in a secret: its JSON keys have no case.

    Of two equal ones the last counts for it, unless that is null.
    """
    return [value for key, value in entry if key.lower() == "environment_variable"]


def _listed(name: str, grant: Grant) -> bool:
    return any(matches(pattern, name) for pattern in grant.env)


def _is_older_name_of_command(name: str, env: Mapping[str, str]) -> bool:
    """Buildkite sends the command of every job under this name, too: it is not the job's own."""
    return name == "BUILDKITE_SCRIPT_PATH" and env[name] == env.get("BUILDKITE_COMMAND")


def left_out(env: Mapping[str, str], grant: Grant) -> dict[str, str]:
    """Return the variables that a job with this grant does not get, with the reason for each."""
    return {} if is_empty(grant) else not_listed(env, grant)


def not_listed(env: Mapping[str, str], grant: Grant) -> dict[str, str]:
    """Return the variables that steer a job and that its rule does not list, with reasons."""
    found = {
        name: steers(name) or _by_value(name, value, grant)
        for name, value in env.items()
        if not _is_older_name_of_command(name, env)
    }
    return {
        name: reason
        for name, reason in sorted(found.items())
        if reason and not _listed(name, grant)
    }
