"""The rules of the code, checked on the syntax tree of every file."""

import ast
from pathlib import Path

import pytest

from bootstrap import errors

PACKAGE = Path(__file__).parents[1] / "bootstrap"
FILES = sorted(PACKAGE.rglob("*.py"))

# Pure modules: values in, values out. They import nothing with side effects.
PURE = {
    "errors.py", "secret.py", "text.py", "forms.py", "fields.py", "grammar.py", "mistakes.py",
    "aws/errors.py", "aws/iam.py", "aws/session_tags.py", "aws/tags.py",
    "grants/__init__.py", "grants/kind.py", "grants/role.py", "grants/profiles.py",
    "grants/secrets.py", "grants/secret_files.py", "grants/ssh_keys.py", "grants/git_tokens.py",
    "grants/registries.py",
    "job/model.py", "buildkite/env_files.py", "job/plugins.py", "job/facts.py",
    "buildkite/grace.py",
    "buildkite/redaction.py", "job/claims.py",
    "job/repository.py",
    "job/assemble.py", "job/digest.py", "service/protocol.py",
    "policy/node.py", "policy/agent_api_schema.py", "policy/egress.py", "policy/egress_schema.py",
    "policy/lint_egress.py",
    "policy/limits_schema.py", "policy/services.py", "policy/services_schema.py",
    "policy/model.py", "images.py", "policy/glob.py", "policy/match.py",
    "policy/guardrails.py", "policy/decide.py",
    "policy/document.py", "policy/schema.py", "policy/parse.py", "policy/parameters.py",
    "policy/catalogue.py", "policy/lint.py", "policy/lint_rules.py", "policy/findings.py",
    "policy/shadow.py", "policy/cases.py", "policy/reach.py",
    "policy/difference/__init__.py", "policy/difference/model.py", "policy/difference/words.py",
    "policy/difference/parts.py", "policy/difference/jobs.py", "policy/difference/rules.py",
    "policy/difference/rails.py", "policy/difference/listing.py",
    "policy/difference/markdown.py", "policy/difference/sarif.py",
    "policy/stores/publishing.py",
    "policy/iam/__init__.py", "policy/iam/model.py", "policy/iam/refs.py", "policy/iam/calls.py",
    "policy/iam/trust.py", "policy/iam/quotas.py", "policy/iam/host.py", "policy/iam/control.py",
    "policy/iam/notes.py", "policy/iam/bounds.py", "policy/iam/checks.py",
    "policy/iam/documents.py", "policy/iam/stack.py", "policy/iam/cloudformation.py",
    "policy/iam/terraform.py", "policy/iam/drift.py", "policy/iam/dump.py",
    "policy/iam/permissions.py", "policy/iam/reading.py",
    "policy/report.py", "policy/access_map.py", "policy/accounts.py", "policy/draft.py",
    "policy/plugins.py", "policy/first.py", "policy/layout.py", "policy/proposals.py",
    "policy/import_leaves.py", "policy/import_steps.py", "policy/import_trust.py",
    "policy/builds.py", "policy/history.py", "policy/ignored.py", "policy/overlap.py",
    "policy/wording.py", "policy/lint_conditions.py", "policy/lint_grants.py",
    "policy/lint_guardrails.py", "policy/simulation.py",
    "colour.py", "completion.py", "failures.py",
    "credentials/references.py", "aws/model.py", "credentials/plan.py",
    "credentials/environment.py", "logins.py", "sandbox/images/pulling.py",
    "credentials/answer.py", "aws/sts_errors.py",
    "sandbox/model.py", "sandbox/environment.py", "sandbox/plan.py", "sandbox/shares.py",
    "sandbox/companions/plan.py",
    "metrics/catalogue.py", "metrics/events.py", "metrics/totals.py",
    "sandbox/egress/messages.py", "sandbox/egress/use.py",
    "sandbox/builds/plan.py", "sandbox/ssh/agent_protocol.py", "sandbox/ssh/agent_seccomp.py",
    "agent_api/model.py", "agent_api/routes.py", "agent_api/request.py", "agent_api/response.py",
    "agent_api/gateway/permit.py", "agent_api/gateway/use.py", "agent_api/offline/markup.py",
    "agent_api/offline/meta_data.py",
    "agent_api/offline/steps.py", "agent_api/offline/tokens.py", "agent_api/offline/upload_form.py",
    "buildkite/job_urls.py", "policy/granted.py", "policy/since.py",
    "replay/model.py", "replay/exported.py", "replay/inputs/recognised.py",
    "replay/inputs/needed.py", "replay/inputs/given.py", "replay/inputs/matrix.py",
    "replay/inputs/steps.py", "replay/inputs/pipeline_yaml.py", "replay/inputs/interpolation.py",
    "replay/inputs/from_record.py", "replay/inputs/from_step.py",
    "replay/options.py", "replay/phases.py", "replay/result.py", "replay/compare.py",
    "replay/job.py", "replay/prompt.py", "replay/holder_plan.py",
    "doctor/model.py", "doctor/snapshot.py", "doctor/versions.py", "doctor/agent_cfg.py",
    "doctor/report.py", "doctor/checks/__init__.py", "doctor/checks/agent.py",
    "doctor/checks/aws.py", "doctor/checks/configuration.py", "doctor/checks/cves.py",
    "doctor/checks/engine.py", "doctor/checks/image.py", "doctor/checks/machine.py",
    "doctor/checks/network.py", "doctor/checks/storage.py", "doctor/checks/units.py",
}  # fmt: skip
SIDE_EFFECTS = {
    "os", "subprocess", "socket", "http.client", "http.server", "urllib.request", "boto3",
    "botocore", "docker", "time", "logging", "threading", "structlog", "fcntl", "shutil",
    "tempfile",
}  # fmt: skip

# Each of these libraries has the callers below and no others.
CALLERS = {
    "docker": {"sandbox/engine_client.py"},
    "boto3": set(),  # its core is enough (aws/client.py)
    "botocore": {"aws/client.py", "aws/own_identity.py"},
    "subprocess": {"process.py"},
    "structlog": {"record.py"},
    "tenacity": {"retry.py"},
    "prometheus_client": {"metrics/exposition.py"},
    "dns": {"sandbox/egress/__init__.py", "sandbox/egress/messages.py"},
    "jwt": {"buildkite/identity.py"},
    "urllib.request": {"buildkite/http.py"},
}

# Packages import no package after theirs; commands, run.py and admission.py import all of them.
PACKAGES = {
    "host": {"host"},
    "buildkite": {"buildkite", "host"},
    "agent_api": {"agent_api", "buildkite", "host"},
    "job": {"job", "buildkite"},
    "aws": {"aws", "host"},
    "grants": {"grants", "buildkite", "aws"},
    "policy": {"job", "buildkite", "aws", "host", "grants", "policy", "agent_api"},
    "credentials": {"job", "buildkite", "aws", "grants", "policy", "host", "credentials"},
    "sandbox": {"job", "buildkite", "aws", "grants", "policy", "host", "credentials", "sandbox",
                "agent_api"},
    "service": {"job", "buildkite", "aws", "policy", "host", "sandbox", "service", "admission",
                "caller", "commands"},
    "replay": {"job", "buildkite", "aws", "grants", "policy", "host", "credentials", "sandbox",
               "agent_api", "replay"},
    "doctor": {"buildkite", "aws", "policy", "host", "sandbox", "service", "commands", "doctor"},
}  # fmt: skip
EVERYWHERE = {
    "errors", "secret", "text", "forms", "fields", "grammar", "mistakes", "files", "process", "log",
    "record", "retry", "__version__", "images", "logins", "packaged", "server", "appended",
    "alerts", "concurrent", "apart", "memory", "libc", "metrics", "http_answer",
    "__init__",
}  # fmt: skip


# These are imported by everything, so they import next to nothing.
BASE = {
    "record": {"errors", "text", "__version__", "files", "appended", "metrics"},
}


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imported(path: Path) -> set[str]:
    """Return what is imported when it runs; what only the type checker sees does not count."""
    tree = ast.parse(path.read_text())
    for statement in tree.body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            statement.body = []
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def test_every_pure_file_exists() -> None:
    assert {name(path) for path in FILES} >= PURE


@pytest.mark.parametrize("path", [PACKAGE / pure for pure in sorted(PURE)], ids=sorted(PURE))
def test_a_pure_file_imports_nothing_with_side_effects(path: Path) -> None:
    touched = {m for m in imported(path) for w in SIDE_EFFECTS if m == w or m.startswith(w + ".")}
    assert not touched


@pytest.mark.parametrize("module", CALLERS)
def test_a_library_is_imported_only_by_its_caller(module: str) -> None:
    callers = {
        name(path)
        for path in FILES
        if any(m == module or m.startswith(module + ".") for m in imported(path))
    }
    assert callers == CALLERS[module]


@pytest.mark.parametrize("path", FILES, ids=[name(path) for path in FILES])
def test_a_package_imports_only_the_packages_before_it(path: Path) -> None:
    package = name(path).split("/", maxsplit=1)[0]
    if package not in PACKAGES:
        return
    imports = {m.split(".")[1] for m in imported(path) if m.startswith("bootstrap.")}
    assert imports <= PACKAGES[package] | EVERYWHERE


@pytest.mark.parametrize("module", sorted(BASE))
def test_a_base_module_imports_nothing_above_it(module: str) -> None:
    paths = imported(PACKAGE / f"{module}.py")
    imports = {m.split(".")[1] for m in paths if m.startswith("bootstrap.")}
    assert imports <= BASE[module]


@pytest.mark.parametrize("path", FILES, ids=[name(path) for path in FILES])
def test_only_main_ends_the_process(path: Path) -> None:
    ends = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id == "SystemExit")
        or (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.exit")
    ]
    assert len(ends) == (1 if name(path) == "__main__.py" else 0)


@pytest.mark.parametrize("path", FILES, ids=[name(path) for path in FILES])
def test_public_dataclasses_are_frozen_and_keyword_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for decorator in node.decorator_list:
                text = ast.unparse(decorator)
                if text.startswith("dataclass"):
                    assert "frozen=True" in text, node.name
                    assert "kw_only=True" in text, node.name


@pytest.mark.parametrize("path", FILES, ids=[name(path) for path in FILES])
def test_a_file_has_at_most_300_lines_and_its_functions_60(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, node.name


def test_the_median_function_has_at_most_13_lines() -> None:
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 13


def test_secrets_are_revealed_only_in_listed_files() -> None:
    """Each is where a value leaves Airlock, or is compared with what it has to be."""
    places = {name(path) for path in FILES if ".reveal(" in path.read_text()}
    assert places == {
        "buildkite/agent_api.py",  # the header of a call
        "agent_api/gateway/upstream.py",  # the header of a call, and what no answer may have
        "sandbox/agent_gateway.py",  # the probe's own call
        "agent_api/serve.py",  # the header that a call has to have
        "agent_api/offline/tokens.py",  # the developer's own secrets
        "buildkite/http.py",  # the proxy's header
        "buildkite/rest_api.py",  # the header of a call
        "host/proxy.py",  # the proxy's URL and header
        "aws/client.py",  # a caller's own keys
        "aws/sts.py",  # Buildkite's token
        "logins.py",  # Docker's configuration file
        "sandbox/images/engine_images.py",  # the engine's own login
        "apart.py",  # from one process of a job to another
        "credentials/answer.py",  # the endpoint's body
        "grants/profiles.py",  # the files of profiles' sessions
        "grants/secrets.py",  # whether it fits
        "grants/secret_files.py",  # a file in the sandbox
        "grants/git_tokens.py",  # the credential helper's file
        "sandbox/ssh/ssh_agent.py",  # the standard input of ssh-add
        "buildkite/identity.py",  # the signature
        "log.py",  # the mask
        "service/verdict.py",  # the digest of the token
        "sandbox/environment.py",  # the job's variables
        "replay/job.py",  # what an agent would pass
    }


def test_every_error_has_its_own_status_and_a_section_in_the_readme() -> None:
    kinds = errors.AirlockError.__subclasses__()
    assert len({kind.exit_code for kind in kinds}) == len(kinds)
    readme = (PACKAGE.parent / "README.md").read_text()
    for kind in kinds:
        assert f"| {kind.exit_code} |" in readme
        assert f"#{kind.docs}" in readme or f'name="{kind.docs}"' in readme


@pytest.mark.parametrize("path", ["cli.py", "__main__.py", "__init__.py"])
def test_nothing_is_imported_before_the_environment_is_cleared(path: str) -> None:
    """Libraries read variables as they are loaded, and the job controls those (promise 2)."""
    tree = ast.parse((PACKAGE / path).read_text())
    first = [
        ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert set(first) <= {"import os", "from bootstrap.cli import main"}
