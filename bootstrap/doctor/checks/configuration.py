"""Checks of airlock.toml and of the policies that it names."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bootstrap.doctor.model import Check, Stage, Verdict, fail, known, ok, warn
from bootstrap.doctor.snapshot import Snapshot
from bootstrap.text import counted

if TYPE_CHECKING:
    from bootstrap.host.config import Host


def _configuration(snapshot: Snapshot) -> Verdict:
    host = known(snapshot.host)
    return ok(f"valid; policies are in {host.policy.store}")


def _agents(snapshot: Snapshot) -> Verdict:
    known(snapshot.agents)
    return ok(", ".join(snapshot.configured.service.agents))


def _weakened(host: "Host") -> Iterator[tuple[str, str]]:
    """Yield each setting that takes a protection away, and what to write instead."""
    if host.policy.mode == "observe":
        yield "policy.mode is observe: jobs that no rule admits run", 'mode = "enforce"'
    if host.policy.agent_tokens == "any":
        yield (
            "policy.agent-tokens is any: jobs may get the agent's own token",
            ('agent-tokens = "job"'),
        )
    if host.policy.loader_variables == "allow":
        yield "policy.loader-variables is allow", 'loader-variables = "refuse"'
    endpoints = ("sts_endpoint", "ssm_endpoint", "secretsmanager_endpoint", "ecr_endpoint")
    for name in endpoints:
        url = getattr(host.aws, name)
        if url and url.startswith("http://"):
            key = name.replace("_", "-")
            yield (
                f"aws.{key} is not https: credentials can be read on the way",
                (f'{key} = "https://…"'),
            )


def _settings(snapshot: Snapshot) -> Verdict:
    found = list(_weakened(snapshot.configured))
    if not found:
        return ok("none is weakened")
    return warn(
        "; ".join(what for what, _ in found),
        f"Unless that is intended, set in airlock.toml: {', '.join(fix for _, fix in found)}.",
    )


def _guardrails(snapshot: Snapshot) -> Verdict:
    store = snapshot.configured.policy.guardrails
    if store is None:
        return warn(
            "none: policies may grant every role that the host's role can assume",
            "Write guardrails (docs/policy.md#guardrails), and name them in policy.guardrails of "
            "airlock.toml.",
        )
    return ok(str(store))


def _policies(snapshot: Snapshot) -> Verdict:
    found = known(snapshot.policies)
    if found.errors:
        return fail(
            f"{counted(len(found.errors), 'error')}: {found.errors[0]}",
            "`airlock policy lint` lists each with what to do.",
            found.errors[1:6],
        )
    if not found.number:
        return warn(
            f"the store {snapshot.configured.policy.store} is empty: every job is refused",
            "Write a policy for each pipeline: `airlock policy init` makes a first one.",
        )
    shown = counted(found.number, "policy", "policies")
    if found.warnings:
        return warn(
            f"{shown}, {counted(found.warnings, 'warning')}",
            "`airlock policy lint` lists them; a comment in the policy answers one.",
        )
    return ok(shown)


TITLE = "Configuration and policies"
CHECKS = (
    Check(
        name="configuration", judge=_configuration,
        what="airlock.toml is valid, and only root can write to it",
        why="With a mistake in it every job ends with 78, and the service does not start.",
    ),
    Check(
        name="service-users", judge=_agents,
        what="The users of service.agents exist and have one primary group",
        why="The service's socket is for that group: without it no agent can start a job.",
    ),
    Check(
        name="settings", judge=_settings,
        what="No setting of airlock.toml takes a protection away",
        why="They exist for the introduction of Airlock and for tests.",
    ),
    Check(
        name="guardrails", judge=_guardrails, what="Guardrails bound what policies may grant",
        why="Without them, whoever writes a policy decides which roles and secrets a job gets.",
    ),
    Check(
        name="policies", judge=_policies, since=Stage.START,
        what="The policy store can be read, and its documents have no mistakes",
        why="Jobs of a pipeline whose policy has a mistake end with 78; if the store cannot be "
        "read, all do.",
    ),
)  # fmt: skip
