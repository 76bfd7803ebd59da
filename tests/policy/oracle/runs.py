"""Conditions on what runs and where: steps, queues, variables, commands, plugins, repositories."""

from tests.job.given import plugins
from tests.policy.oracle.pairs import INVALID, REFUSED, Pair, named, when

BOTH = "[git@github.com:acme/storefront.git, git@github.com:acme/docs.git]"
DOCS = {"BUILDKITE_REPO": "git@github.com:acme/docs.git"}

WHERE = [
    when("{source: trigger_job}", named(source="trigger_job"), "only", "a known source"),
    when("{source: '!schedule'}", {}, "only", "started in the UI"),
    when("{source: '!schedule'}", named(source=""), REFUSED, "no source"),
    when("{triggered-by: deploy}", named(triggered_from_build_pipeline_slug="deploy"), INVALID,
         "neither Buildkite's token nor the agent API says which pipeline triggered a build"),
    when("{step: 'deploy*'}", {}, "only", "the step's key"),
    when("{step: '*'}", named(step_key=""), REFUSED, "a step without a key"),
    when("{step: '!deploy'}", named(step_key=""), REFUSED, "a step without a key"),
    when("{step: '!deploy'}", named(step_key="Deploy"), REFUSED, "a negation excludes every case"),
    when("{queue: deploy}", {}, "only", "the agent's queue"),
    when("{queue: '!prod'}", named(agent_meta_data_queue="Prod"), REFUSED, "excludes every case"),
    when("{agent-tag: {size: large}}", named(agent_meta_data_size="large"), "only", "the tag"),
    when("{agent-tag: {size: '!small'}}", {}, REFUSED, "the agent has no such tag"),
    when("{organization: acme}", {}, "only", "the organization"),
    when("{organization: '!acme'}", {}, REFUSED, "excluded"),
]  # fmt: skip

VARIABLES = [
    when("{env: {MODE: absent}}", {}, "only", "it is not set"),
    when("{env: {MODE: absent}}", {"MODE": ""}, REFUSED, "an empty variable is set"),
    when("{env: {MODE: absent}}", {"MODE": "absent"}, REFUSED, "it is set"),
    when("{env: {MODE: ''}}", {"MODE": ""}, "only", "set, and empty"),
    when("{env: {MODE: ''}}", {}, REFUSED, "it is not set"),
    when("{env: {MODE: ''}}", {"MODE": "x"}, REFUSED, "it is not empty"),
    when("{env: {MODE: '*'}}", {"MODE": ""}, "only", "`*` is any value of a variable that is set"),
    when("{env: {MODE: '*'}}", {}, REFUSED, "it is not set"),
    when("{env: {MODE: [absent, '']}}", {}, "only", "either"),
    when("{env: {MODE: [absent, '']}}", {"MODE": ""}, "only", "either"),
    when("{env: {MODE: [absent, '']}}", {"MODE": "x"}, REFUSED, "neither"),
    when("{env: {MODE: '!live'}}", {"MODE": "test"}, "only", "another value"),
    when("{env: {MODE: '!live'}}", {"MODE": ""}, "only", "set to another value"),
    when("{env: {MODE: '!live'}}", {"MODE": "LIVE"}, REFUSED, "a negation excludes every case"),
    when("{env: {MODE: '!live'}}", {}, REFUSED, "what is absent holds nowhere, negated or not"),
    when("{env: {MODE: [absent, '!live']}}", {}, "only", "absent is named"),
    when("{env: {MODE: [absent, '!live']}}", {"MODE": "test"}, "only", "another value"),
    when("{env: {MODE: [absent, '!live']}}", {"MODE": "live"}, REFUSED, "excluded"),
    when("{env: {MODE: '!absent'}}", {"MODE": "x"}, INVALID, "`*` is any value that is set"),
    when("{env: {MODE: 'a*'}}", {"MODE": "a\nb"}, REFUSED, "`*` stays within a line"),
    when("{env: {MODE: '*'}}", {"MODE": "a\nb"}, "only", "`*` alone is every value"),
    when("{env: {MODE: '!*b*'}}", {"MODE": "a\nb"}, REFUSED, "a negation looks at every line"),
    when("{env: {'A-B': x}}", {}, INVALID, "no variable has such a name"),
]  # fmt: skip


def command(text: str) -> dict[str, str]:
    return {"BUILDKITE_COMMAND": text}


COMMANDS = [
    when("{command: make deploy}", {}, "only", "this command"),
    when("{command: 'make *'}", command("make test"), "only", "`*` within the line"),
    when("{command: 'make *'}", command("make test\ncurl evil"), REFUSED, "a second line"),
    when("{command: 'make *'}", command("make test\r\ncurl evil"), REFUSED, "a second line"),
    when("{command: '* test'}", command("curl evil\nmake test"), REFUSED, "a line before"),
    when("{command: '*'}", command("make test\ncurl evil"), "only", "`*` alone is every command"),
    when('{command: "make a\\nmake b"}', command("make a\nmake b"), "only", "these two lines"),
    when('{command: "make *\\nmake *"}', command("make a\nmake b"), "only", "line by line"),
    when("{command: '!*curl*'}", command("make\ncurl evil"), REFUSED, "excluded on any line"),
    when("{command: '!*curl*'}", command("make"), "only", "not excluded"),
    when("{command: '*'}", command(""), REFUSED, "a job without a command"),
]  # fmt: skip

PLUGINS = [
    when("{plugin: 'docker#v5.*'}", {}, "only", "an allow-list: no plugin, nothing to allow"),
    when("{plugin: 'docker#v5.*'}", plugins("docker#v5.1.0"), "only", "on the list"),
    when("{plugin: 'docker#v5.*'}", plugins("docker#v6.0.0"), REFUSED, "another version"),
    when("{plugin: 'docker#v5.*'}", plugins("docker#v5.1.0", "x#v1"), REFUSED, "every plugin"),
    when("{plugin: docker}", plugins("docker#v5.1.0"), REFUSED, "means without a version"),
    when("{plugin: '*'}", plugins("mallory/x"), "only", "`*` alone is every plugin"),
    when("{plugin: ['*', '!mallory/*']}", plugins("Mallory/x#v1"), REFUSED, "GitHub has no case"),
    when("{plugin: ['*', '!mallory/x']}", plugins("mallory/x#v1"), REFUSED, "every version"),
    when("{plugin: ['*', '!github.com/mallory/x']}",
         named(plugins='[{"ssh://git@github.com/mallory/x.git#v1": null}]'), REFUSED,
         "every transport, with or without .git"),
]  # fmt: skip


def repository(pattern: str, env: dict[str, str], expected: str, because: str) -> Pair:
    rules = f"  - {{name: only, when: {{repository: {pattern}}}, allow: {{}}}}\n"
    return Pair(rules=rules, env=env, expected=expected, because=because, repositories=BOTH)


def repo(url: str) -> dict[str, str]:
    return {"BUILDKITE_REPO": url}


REPOSITORIES = [
    when("{}", repo("https://github.com/acme/storefront"), "only", "the same on github.com"),
    when("{}", repo("git@github.com:acme/docs.git"), REFUSED, "another repository"),
    repository("git@github.com:acme/docs.git", DOCS, "only", "this one"),
    repository("git@github.com:acme/docs.git", {}, REFUSED, "the other one"),
    repository("https://github.com/acme/docs", DOCS, "only", "the same on github.com"),
    repository("'git@github.com:acme/*'", DOCS, "only", "`*` within a segment"),
    repository("'https://github.com/acme/*'", DOCS, "only", "the same on github.com"),
    repository("'https://github.com/acme/do*.git'", DOCS, "only", "with or without .git"),
    repository("'git@github.com:acme/store*'", DOCS, REFUSED, "the other one"),
    repository("'git@github.com:*'", DOCS, REFUSED, "`*` stays within one segment"),
    repository("'git@github.com:*/*'", DOCS, "only", "one `*` for each segment"),
    repository("'*'", DOCS, "only", "`*` alone is every repository of the policy"),
    repository("'!git@github.com:acme/docs.git'", {}, "only", "not excluded"),
    repository("'!git@github.com:acme/docs.git'", DOCS, REFUSED, "excluded"),
    repository("'!https://github.com/Acme/Docs/'", DOCS, REFUSED, "excluded in every spelling"),
    repository("'!ssh://git@github.com/acme/d*'", repo("https://github.com/ACME/docs.git"), REFUSED,
               "excluded in every spelling"),
    repository("'git@*:acme/docs.git'", DOCS, INVALID, "`*` has no place in a host"),
    repository("docs", DOCS, INVALID, "not a URL of a repository"),
    repository("'git@github.com:acme/../docs.git'", DOCS, INVALID, "never admitted"),
]  # fmt: skip

ROWS = [*WHERE, *VARIABLES, *COMMANDS, *PLUGINS, *REPOSITORIES]
