"""Pydantic's findings, in plain words: where, what was expected, what was found."""

from pathlib import Path

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import parse as host
from bootstrap.policy import schema
from bootstrap.policy.parse import parse as policy
from tests.policy.given import HEAD


def keys_of(node: type[schema.Node]) -> list[str]:
    return [name.replace("_", "-") for name in node.model_fields]


WHEN = ", ".join(keys_of(schema.When))
ALLOW = ", ".join(keys_of(schema.Allow))


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("{name: a, when: {branch: []}, allow: {}}",
         "rules[0].when.branch: expected at least 1 entry; got an empty list"),
        ("{name: a, when: {agent-tag: x}, allow: {}}",
         "rules[0].when.agent-tag: expected a mapping of names to values; got 'x'"),
        ("{name: a, when: {env: {A-B: x}}, allow: {}}",
         "rules[0].when.env: the key \"A-B\": expected a variable's name"),
        ("{name: a, when: x, allow: {}}",
         f"rules[0].when: expected a mapping with any of the keys {WHEN}; got 'x'"),
        ("{name: a, allow: [role]}", f"rules[0].allow: expected a mapping with any of the keys "
         f"{ALLOW}; got a list"),
        ("{name: a, allow: {services: {db: postgres}}}", "rules[0].allow.services.db: expected a "
         "mapping with any of the keys image, env, command, ready, ready-within, user, tmpfs, "
         "limits; got 'postgres'"),
        ("{name: a, allow: {services: [postgres]}}",
         "rules[0].allow.services: expected a mapping of names to values; got a list"),
        ("x", "rules[0]: expected a mapping with any of the keys name, when, allow; got 'x'"),
        ("{name: a, when: {brnach: x}, allow: {}}",
         'rules[0].when: unknown key "brnach"; did you mean "branch"?'),
        ("{name: a, allow: {brnach: x}}",
         f'rules[0].allow: unknown key "brnach"; expected one of {ALLOW}'),
        ("{name: a, allow: {branch: x}}",
         'rules[0].allow: unknown key "branch"; "branch" belongs to rules[].when'),
        ("{name: a, oidc_audiences: x, allow: {}}", 'rules[0]: unknown key "oidc_audiences"; '
         '"oidc-audiences" belongs to rules[].allow.agent-api'),
        ("{name: a, allow: {repository: x}}", 'rules[0].allow: unknown key "repository"; '
         '"repository" belongs to the document itself'),
        ("{name: a, when: {tags: x}, allow: {}}", 'rules[0].when: unknown key "tags"; did you mean '
         '"tag"? "tags" belongs to rules[].allow.session'),
        ("{name: a, allow: {session: {transitiv: x}}}",
         'rules[0].allow.session: unknown key "transitiv"; did you mean "transitive"?'),
        ("{name: a, allow: {docker: yes}}", 'rules[0].allow: unknown key "docker"; jobs have no '
         "Docker Engine; see `services` and `builds`"),
        ("{name: a, allow: {services: {db: {image: a/b, ports: [1]}}}}",
         'rules[0].allow.services.db: unknown key "ports"; ports are not listed: a job reaches '
         "those of a host or a service that it may reach"),
        ("{name: a, allow: {services: {db: {image: a/b, environment: {}}}}}",
         'rules[0].allow.services.db: unknown key "environment"; variables are `env`'),
        ("{name: '', allow: {}}", "rules[0].name: expected text that is not empty; got nothing"),
        ("{name: a}", "rules[0].allow is missing"),
        ("{name: a, allow: {workspace: shared}}",
         "rules[0].allow.workspace: expected 'reuse' or 'fresh'; got 'shared'"),
        ("{name: a, allow: {limits: {pids: 1}}}",
         "rules[0].allow.limits.pids: expected 64 or more; got '1'"),
        ("{name: a, allow: {limits: {cpus: many}}}",
         "rules[0].allow.limits.cpus: expected a number; got 'many'"),
        ("{name: a, allow: {registries: {r.example.com: ecr}}}",
         "rules[0].allow.registries.r.example.com: expected 'role', ssm:/path or "
         "secretsmanager:name; got 'ecr'"),
        ("{name: a, allow: {registries: {r.example.com/x: role}}}",
         "rules[0].allow.registries: the key \"r.example.com/x\": expected a registry's host, "
         "with its port if it has one"),
    ],
)  # fmt: skip
def test_a_policys_mistakes(rule: str, says: str) -> None:
    with pytest.raises(WrongConfiguration) as caught:
        policy(HEAD + f"  - {rule}\n", "p.yaml")
    assert caught.value.details == (f"p.yaml:4: {says}",)


@pytest.mark.parametrize(
    ("section", "settings", "says"),
    [
        ("policy", {"store": "s3:/x"},
         'policy.store: expected "file:/path/on/this/host" or "ssm:/path/of/parameters"; '
         "got 's3:/x'"),
        ("policy", {"store": 1}, 'policy.store: expected "file:/path/on/this/host" or '
         "\"ssm:/path/of/parameters\"; got '1'"),
        ("policy", {"cache": "soon"}, 'policy.cache: expected a duration such as "30s", "15m", '
         '"1h" or "14d"; got \'soon\''),
        ("policy", {"enforce": "all"}, "policy.enforce: expected a list; got 'all'"),
        ("policy", {"issuer": "x"}, "policy.issuer: expected a URL without a path; got 'x'"),
        ("aws", {"region": "Frankfurt"},
         'aws.region: expected a region, such as "us-east-1"; got \'Frankfurt\''),
        ("aws", {"credentials": "AKIA"},
         'aws.credentials: expected "instance-role" or "file:/path"; got \'AKIA\''),
        ("paths", {"state": "x"}, "paths.state: expected an absolute path without ..; got 'x'"),
        ("paths", {"state": 1}, "paths.state: expected a path; got '1'"),
        ("storage", {"workspaces": 0}, "storage.workspaces: expected 1 or more; got '0'"),
        ("registries", {"A": "ecr"}, 'registries: the key "A": expected a registry\'s host, with '
         "its port if it has one"),
        ("registries", {"a": "x"}, 'registries.a: expected "ecr", "docker", "ssm:/path" or '
         "\"secretsmanager:name\"; got 'x'"),
        ("service", {"memory": "1GiB"},
         'service: unknown key "memory"; "memory" belongs to builds'),
        ("storage", {"min_fre": "1GiB"},
         'storage: unknown key "min_fre"; did you mean "min-free"?'),
        ("sandbox", "job:1", "sandbox: expected a mapping with any of the keys image, pull, "
         "docker, runtime, agent-binary, hooks, first-uid, slots, ssh-destinations, memory, cpus, "
         "pids, tmp, open-files, subnet, dns; got 'job:1'"),
        ("registries", "ecr", "registries: expected a mapping of names to values; got 'ecr'"),
        ("sandbox", {"image": "x", "hooks": "perhaps"},
         "sandbox.hooks: expected true or false; got 'perhaps'"),
        ("sandbox", {"image": "x", "subnet": "here"},
         'sandbox.subnet: expected an IPv4 network such as "198.18.240.0/20"; got \'here\''),
        ("sandbox", {"image": "x", "dns": ["fd00::1"]},
         'sandbox.dns[0]: expected an IPv4 address such as "10.0.0.2"; got \'fd00::1\''),
        ("storage", {"trail-size": "150MiB"},
         "storage: trail-size is 150 MiB, expected at least twice trail-file (100 MiB): the audit "
         "trail would lose its last file as soon as it is rotated"),
    ],
)  # fmt: skip
def test_a_hosts_mistakes(section: str, settings: object, says: str) -> None:
    document = {"sandbox": {"image": "job:1"}, section: settings}
    with pytest.raises(WrongConfiguration) as caught:
        host(document, Path("airlock.toml"))
    assert caught.value.details == (says,)
