"""What AWS answers to a request under IAM policies: the elements and operators that Airlock writes.

Written from AWS's IAM User Guide ("Condition operators", "Multivalued context keys", "Variables and
tags", "Policy evaluation logic"). What is not written here is refused with Unsupported, so that no
document passes a test because its meaning was guessed. test_iam_evaluation has the documented
examples.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Value = str | tuple[str, ...]  # a tuple: a multivalued context key
Document = Mapping[str, Any]

VERSION = "2012-10-17"  # earlier versions know no variables
_ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
_CHARACTERS = re.compile(r"[\t\n\r -\xff]+")  # of a document (botocore's model of IAM)
# Others, such as an account or everyone, stand for principals that are not named.
_PRINCIPALS = {
    "AWS": re.compile(r"arn:aws(-[a-z]+)*:iam::\d{12}:role/[^*]+"),
    "Federated": re.compile(r"arn:aws(-[a-z]+)*:iam::\d{12}:oidc-provider/[^*]+"),
}
_OPERATOR = re.compile(r"(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_DEFAULT = re.compile(r"([^,]+?)\s*,\s*'([^']*)'")


class UnsupportedError(Exception):
    """The document uses what this evaluator does not know."""


class _UnresolvedError(Exception):
    """A variable has no value in the request: its statement does not apply."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One action of one principal, with the context keys that AWS documents for that action."""

    action: str
    resource: str
    principal: str  # a role's ARN, or the ARN of an identity provider
    context: Mapping[str, Value] = field(default_factory=dict)

    def value(self, key: str) -> Value | None:
        """Return the value of a context key, whose name is not case-sensitive."""
        found = {name.lower(): value for name, value in self.context.items()}
        return found.get(key.lower())


def allows(documents: tuple[Document, ...], request: Request) -> bool:
    """Return whether a statement allows the request and none denies it."""
    effects = {s["Effect"] for d in documents for s in statements(d) if _applies(s, request)}
    return "Allow" in effects and "Deny" not in effects


def denies(documents: tuple[Document, ...], request: Request) -> bool:
    """Return whether a statement denies the request: what a service control policy can do."""
    return any(
        s["Effect"] == "Deny" and _applies(s, request) for d in documents for s in statements(d)
    )


def statements(document: Document) -> list[Mapping[str, Any]]:
    """Return the statements of a document that IAM accepts. Raises UnsupportedError."""
    if set(document) != {"Version", "Statement"} or document["Version"] != VERSION:
        raise UnsupportedError(f"elements {sorted(document)}")
    if not _CHARACTERS.fullmatch(json.dumps(document, ensure_ascii=False)):
        raise UnsupportedError("characters that IAM accepts in no document")
    sids = Counter(s["Sid"] for s in document["Statement"] if "Sid" in s)
    if any(number > 1 for number in sids.values()):
        raise UnsupportedError(f"the same Sid twice in {sorted(sids)}")
    for statement in document["Statement"]:
        if not set(statement) <= _ELEMENTS or statement["Effect"] not in {"Allow", "Deny"}:
            raise UnsupportedError(f"statement {statement}")
        if "Action" not in statement or ("Principal" in statement) == ("Resource" in statement):
            raise UnsupportedError(f"statement {statement}")
    return list(document["Statement"])


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    try:
        return (
            any(_glob(a.lower(), request.action.lower()) for a in _listed(statement["Action"]))
            and _concerns(statement, request)
            and all(
                _holds(operator, key, _listed(wanted), request)
                for operator, keys in statement.get("Condition", {}).items()
                for key, wanted in keys.items()
            )
        )
    except _UnresolvedError:
        return False


def _concerns(statement: Mapping[str, Any], request: Request) -> bool:
    if "Resource" in statement:
        return any(
            r == "*" or _resource(_pattern(r, request, wild=True), request.resource)
            for r in _listed(statement["Resource"])
        )
    principal = statement["Principal"]
    if not isinstance(principal, Mapping) or not set(principal) <= set(_PRINCIPALS):
        raise UnsupportedError(f"principal {principal}")
    named = [(kind, p) for kind, listed in principal.items() for p in _listed(listed)]
    for kind, each in named:
        if not _PRINCIPALS[kind].fullmatch(each):
            raise UnsupportedError(f"principal {each}")
    return request.principal in [each for _, each in named]


def _holds(operator: str, key: str, wanted: list[str], request: Request) -> bool:
    match = _OPERATOR.fullmatch(operator)
    if not match:
        raise UnsupportedError(f"operator {operator}")
    quantifier, name, if_exists = match.groups()
    got = request.value(key)
    if name == "Null":
        if wanted not in (["true"], ["false"]) or quantifier or if_exists:
            raise UnsupportedError(f"{operator} {wanted}")
        return (got is None) == (wanted == ["true"])
    if name not in _COMPARISONS:
        raise UnsupportedError(f"operator {operator}")
    if got is not None and isinstance(got, tuple) != bool(quantifier):
        raise UnsupportedError(f"{operator} on {key}, whose value is {got!r}")
    if got is None and if_exists:
        return True
    return _compared(name, quantifier, got, wanted, request)


def _compared(
    name: str, quantifier: str | None, got: Value | None, wanted: list[str], request: Request
) -> bool:
    compare, wild, negated = _COMPARISONS[name]
    patterns = [_pattern(text, request, wild=wild) for text in wanted]
    values = got if isinstance(got, tuple) else () if got is None else (got,)
    verdicts = [any(compare(p, value) for p in patterns) != negated for value in values]
    match quantifier:
        case "ForAllValues":  # an absent or empty key holds
            return all(verdicts)
        case "ForAnyValue":
            return any(verdicts)
        case _:  # an absent key does not match, so a negated operator holds
            return all(verdicts) if verdicts else negated


def _pattern(text: str, request: Request, *, wild: bool) -> str:
    """Return a regular expression. A variable's value is literal, whatever characters it has."""
    made, position = "", 0
    for variable in _VARIABLE.finditer(text):
        made += _wild(text[position : variable.start()], wild=wild)
        made += re.escape(_resolved(variable[1], request))
        position = variable.end()
    return made + _wild(text[position:], wild=wild)


def _wild(text: str, *, wild: bool) -> str:
    if "${" in text:
        raise UnsupportedError(f"an open variable in {text!r}")
    escaped = re.escape(text)
    return escaped.replace(r"\*", ".*").replace(r"\?", ".") if wild else escaped


def _resolved(variable: str, request: Request) -> str:
    if variable in {"*", "?", "$"}:
        return variable
    default = _DEFAULT.fullmatch(variable)
    got = request.value(default[1] if default else variable.strip())
    if isinstance(got, tuple):
        raise UnsupportedError(f"a variable of the multivalued key {variable}")
    if got is None and default:
        return default[2]
    if got is None:
        raise _UnresolvedError
    return got


def _text(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value, re.DOTALL) is not None


def _arn(pattern: str, value: str) -> bool:
    """Compare the six parts of an ARN, each with its own wildcards."""
    parts, given = pattern.split(":", 5), value.split(":", 5)
    return len(parts) == len(given) == 6 and all(map(_text, parts, given))


def _resource(pattern: str, value: str) -> bool:
    """Compare with an ARN of the element Resource.

    There, a `*` that ends one of the six parts may match beyond its colon
    (reference_policies_elements_resource). No document should depend on whether it does.
    """
    within, beyond = _arn(pattern, value), _text(pattern, value)
    if within != beyond:
        raise UnsupportedError(f"a wildcard that matches beyond a colon of {value!r}")
    return within


def _glob(pattern: str, value: str) -> bool:
    return _text(_wild(pattern, wild=True), value)


# Name -> how one value is compared, whether the policy's text has wildcards, and whether negated.
_COMPARISONS: Mapping[str, tuple[Callable[[str, str], bool], bool, bool]] = {
    "StringEquals": (_text, False, False),
    "StringNotEquals": (_text, False, True),
    "StringLike": (_text, True, False),
    "StringNotLike": (_text, True, True),
    "ArnEquals": (_arn, True, False),  # the same as ArnLike
    "ArnLike": (_arn, True, False),
    "ArnNotEquals": (_arn, True, True),
    "ArnNotLike": (_arn, True, True),
}


def _listed(value: Any) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(each, str) for each in listed):
        raise UnsupportedError(f"the value {value!r}")
    return listed
