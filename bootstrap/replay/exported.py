"""A job's record without secrets, for a person who may not see them.

A host leaves out what is secret by the name of its variable. Here nobody knows which values are
secret, so what looks like a secret is masked too, wherever it is: by its shape, or by the name
that it is assigned to. Records of older versions go through the same.
"""

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from bootstrap.buildkite.redaction import without_secrets
from bootstrap.replay.inputs.from_record import schema_of
from bootstrap.text import MASK, without_credentials

# Words of a name whose value is taken for a secret: more than agents redact.
_WORDS = frozenset(
    """
    password passwords passwd passphrase passcode pwd secret secrets token tokens credential
    credentials creds auth authorization cookie cookies dsn otp netrc npmrc kubeconfig dockerconfig
    dockerconfigjson apikey accesskey privatekey sshkey jwt bearer pass passin passout pat sig
    signature storepass keypass sshpass
    """.split()  # noqa: SIM905 - as lines
)
# Names without a boundary between words: PGPASSWORD, -Dpassword, authtoken.
_ENDINGS = ("password", "passwd", "passphrase", "token", "secret", "apikey")
_KINDS_OF_KEY = frozenset(
    """
    api access private ssh signing encryption license deploy gpg pgp secret master account shared
    storage
    """.split()  # noqa: SIM905
)
_PAIRS = frozenset({("connection", "string"), ("webhook", "url"), ("session", "id")})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# What values are assigned to in a command or a setting: NAME=…, "name": "…", name: …, --name ….
_BEFORE = re.compile(
    r"(?<![\w.-])(?:"
    r"(?:--?)?(?P<name>[A-Za-z_][\w.-]{0,80})\\?[\"']?\s{0,5}(?:[:+?]?=|:(?!//))\s{0,5}"
    r"(?:\\\s{0,9}|-[ \t]{1,9})?"
    r"|--?(?P<option>[A-Za-z][\w-]{0,80})\s{1,5})"
)
_VALUE = re.compile(
    r"(?:(?:Bearer|Basic|Token)\s+)?(?:"
    r"[|>][-+0-9]{0,2}[ \t]{0,9}(?:\n[ \t]+[^\n]*)+"  # a block of YAML
    r"|\{{1,2}[^{}\n]{0,500}\}{1,2}"
    r"|(?:\"(?:[^\"\\]|\\.)*\"|'[^']*')(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s\"'&|;<>(){},\\])*"
    r"|[\"']\S*"
    r"|(?:,(?=\S)|[^\s\"'&|;<>\\,]|\\(?![\"'])[^\n])+)",
    re.IGNORECASE,
)
_ARN = re.compile(r"arn:[\w-]+:secretsmanager:[\w-]*:[0-9]*:\Z")  # what is before `secret:NAME`
# Passwords that options of well-known programs take: curl -u, docker login -p, mysql -p, sshpass.
_PASSWORD = re.compile(
    r"(?P<before>(?:(?:^|\s)(?:-u|--user|--proxy-user)[= ]?[\"']?[^\s\"':]{1,100}:"
    r"|\b(?:mysql\w{0,20}|mariadb\w{0,20}|sshpass|login)\b[^\n|;&]{0,200}?\s-p\s?"
    r"|\bredis-cli\b[^\n|;&]{0,200}?\s-a\s?|\bsqlcmd\b[^\n|;&]{0,200}?\s-P\s?"
    r"|\bcurl\b[^\n|;&]{0,200}?\s(?:-b|--cookie)[ =]?[\"']?[^\s\"'=]{1,99}="
    r"|\bmachine\s{1,9}\S{1,99}\s{1,9}login\s{1,9}\S{1,99}\s{1,9}password\s{1,9}))"
    r"(?P<value>[^\s\"']+)"
)
_HEADER = re.compile(
    r"(?P<before>\b(?:Bearer|Basic|Token)\s+)(?P<value>(?=\S{0,200}[0-9])[A-Za-z0-9+/_=.~-]{8,})",
    re.IGNORECASE,
)
# Credentials that their issuers made recognisable.
_SHAPES = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
    r"|\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}\b"
    r"|\b(?:bk[a-z]{1,4}_[\w-]{10,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}"
    r"|xox[a-z]-[\w-]{10,}|(?:sk|pk|rk)[-_][\w-]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,}"
    r"|hv[sb]\.[\w-]{20,}|dckr_pat_[\w-]{20,}|dop_v1_[a-f0-9]{40,}|ATATT[\w=-]{20,}"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{20,}|tskey-[\w-]{10,}|shp[a-z]{2}_[a-f0-9]{20,}|AIza[\w-]{30,})"
    r"|\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"
    r"|\bhttps://hooks\.slack\.com/[\w/-]+",
    re.DOTALL,
)
# References to a secret, and what a shell replaces.
_NOT_SECRET = re.compile(
    r"[\"']?(?:\$\{?[\w@*#?!-]*\}?|\$\([^)]*\)?|\*{3}|(?:ssm|secretsmanager|arn):[\w+=,.@/:#-]*"
    r"|true|false|null|none)[\"']?",
    re.IGNORECASE,
)
# Variables of Buildkite's whose names look like secrets' and whose values are none.
_PUBLIC = frozenset({"BUILDKITE_SECRETS_CONFIG", "BUILDKITE_REDACTED_VARS"})

Json = Mapping[str, Any]


def exported(document: Json) -> dict[str, Any]:
    """Return the record as it may leave the host. Raises ValueError if it cannot be read.

    `masked` has the variables of which a part is masked here or was before. What a job was is
    kept: names, repositories, branches, people, accounts, roles and the names of secrets.
    """
    schema_of(document)
    env = document.get("env")
    if not isinstance(env, dict):
        raise ValueError("it is not the record of a job: it has no `env`")  # noqa: TRY004
    found = {name: _clean(value) for name, value in document.items()
             if name not in {"env", "agent_env", "masked"}}  # fmt: skip
    patterns = _patterns(document)
    shown, masked = _variables(env, patterns)
    before = document.get("masked")
    masked += [name for name in before or [] if isinstance(name, str)] if before else []
    agent = document.get("agent_env")
    known = {"agent_env": _variables(agent, patterns)[0]} if isinstance(agent, dict) else {}
    return {**found, "exported": True, "env": shown, **known, "masked": sorted(set(masked))}


def _patterns(document: Json) -> dict[str, str]:
    agent = document.get("agent_env")
    own = agent.get("BUILDKITE_REDACTED_VARS") if isinstance(agent, dict) else None
    return {"BUILDKITE_REDACTED_VARS": own} if isinstance(own, str) else {}


def _variables(env: Json, agent: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    texts = {name: value for name, value in env.items() if isinstance(value, str)}
    hidden = {name for name, value in without_secrets(texts, agent).items() if value is None}
    shown: dict[str, Any] = {}
    masked: list[str] = []
    for name, value in env.items():
        looks_secret = is_secret_name(name) and name not in _PUBLIC and value != ""
        is_secret = name in hidden or looks_secret
        shown[name] = None if is_secret or not isinstance(value, str) else _text(value)
        if isinstance(value, str) and shown[name] not in {None, value, without_credentials(value)}:
            masked.append(name)
    return shown, masked


def is_secret_name(name: str) -> bool:
    """Return whether a value under this name is taken for a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    return (
        not _WORDS.isdisjoint(words)
        or name.lower().endswith(_ENDINGS)
        or not _PAIRS.isdisjoint(pairwise(words))
        or any(kind in _KINDS_OF_KEY and key in {"key", "keys"} for kind, key in pairwise(words))
    )


def _clean(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON without what looks like a secret, however deep."""
    match value:
        case str():
            return _text(value)
        case list():
            return [_clean(item) for item in value]
        case dict():
            return {
                _text(name): _of_service(item) if name == "env" else _clean(item)
                for name, item in value.items()
            }
        case _:
            return value


def _of_service(env: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the variables of a service container, if it is these, without secrets."""
    if not isinstance(env, dict):
        return _clean(env)
    return {
        _text(name): MASK if value and is_secret_name(name) else _clean(value)
        for name, value in env.items()
    }


def _text(text: str) -> str:
    inner = _structure(text)
    if inner is not None:
        shown = _hidden(inner)
        return text if shown == inner else json.dumps(shown, ensure_ascii=False)
    text = _assigned(_SHAPES.sub(MASK, without_credentials(text)))
    return _HEADER.sub(_masked, _PASSWORD.sub(_masked, text))


def _assigned(text: str) -> str:
    """Mask the values of secrets' names. Another name's value may have such a name in it."""
    parts: list[str] = []
    done = at = 0
    while found := _BEFORE.search(text, at):
        at = found.end()
        is_name = is_secret_name(found["name"] or found["option"])
        is_arn = _ARN.search(text[max(0, found.start() - 100) : found.start()])
        value = _VALUE.match(text, at) if is_name and not is_arn else None
        if value and not _NOT_SECRET.fullmatch(value[0]):
            parts += [text[done:at], _mask(value[0])]
            done = at = value.end()
    return "".join((*parts, text[done:]))


def _mask(value: str) -> str:
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{MASK}{quote}"


def _masked(found: re.Match[str]) -> str:
    value = found["value"]
    if _NOT_SECRET.fullmatch(value) or value.isdigit():  # a group after a user, or a port
        return found[0]
    return found["before"] + _mask(value)


def _structure(text: str) -> Any:  # noqa: ANN401 - JSON
    """Return the mapping or list whose JSON a text is, as plugins' settings are; else None."""
    if text[:1] not in {"[", "{"}:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _hidden(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a structure with the values masked whose names are secrets', and the rest cleaned."""
    match value:
        case dict():
            return {
                _text(name): _whole(item) if is_secret_name(name) else _hidden(item)
                for name, item in value.items()
            }
        case list():
            return [_hidden(item) for item in value]
        case str():
            return _text(value)
        case _:
            return value


def _whole(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Mask every value of a structure under a secret's name, but for references."""
    match value:
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case str() if not _NOT_SECRET.fullmatch(value) and value:
            return MASK
        case int() | float() if not isinstance(value, bool):
            return MASK
        case _:
            return value
