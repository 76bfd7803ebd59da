"""The checks of what a rule lets its jobs reach (docs/egress.md)."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network

from bootstrap.job.repository import parse
from bootstrap.policy.egress import ANY_NAME, EgressGrant, covers
from bootstrap.policy.findings import Finding, warning
from bootstrap.policy.model import Policy, Rule

# Below each, anyone can have a name, and with it what a job sends there.
_LISTED = """
    *.amazonaws.com *.s3.amazonaws.com *.cloudfront.net *.elb.amazonaws.com *.awsapprunner.com
    *.on.aws *.azurewebsites.net *.azureedge.net *.blob.core.windows.net *.cloudapp.azure.com
    *.run.app *.appspot.com *.web.app *.firebaseapp.com *.cloudfunctions.net
    *.storage.googleapis.com
    *.github.io *.githubusercontent.com *.gitlab.io *.pages.dev *.workers.dev *.r2.dev *.vercel.app
    *.netlify.app *.herokuapp.com *.fly.dev *.onrender.com *.ngrok.io *.ngrok-free.app *.ngrok.app
    *.trycloudflare.com *.digitaloceanspaces.com *.ondigitalocean.app *.fastly.net *.edgekey.net
    *.akamaized.net *.b-cdn.net *.nip.io *.sslip.io *.oastify.com *.interact.sh
"""
_AWS = ("amazonaws.com", "amazonaws.com.cn", "api.aws", "amazonwebservices.com.cn")
_OF_ANYONE = tuple(_LISTED.split())


def _repository(policy: Policy, rule: Rule) -> Iterator[Finding]:
    grant = rule.allow.egress
    if grant is None or grant.observe:
        return
    hosts = sorted({one.host for url in policy.repositories if (one := parse(url))})
    for host in hosts:
        if not _reaches(grant, host):
            yield warning(
                "egress-lacks-repository", policy, rule.line,
                f"rule {rule.name!r} does not let jobs reach {host}, from which they check out",
                f"Add {host} to hosts, as in `egress: {{hosts: [{host}]}}`, unless its jobs check "
                "nothing out.",
            )  # fmt: skip


def _grants(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """Hosts of registries and tokens that the rule names; any host of AWS; any, for builds."""
    grant = rule.allow.egress
    if grant is None or grant.observe:
        return
    hosts = dict.fromkeys(host for kind in rule.allow.kinds for host in kind.hosts())
    missing = [host for host in hosts if not _reaches(grant, host)]
    if missing:
        yield warning(
            "egress-lacks-grant", policy, rule.line,
            f"rule {rule.name!r} does not let jobs reach {' and '.join(missing)}, for which it "
            "grants logins",
            f"Add to hosts: {', '.join(missing)}; and where a registry redirects to for its "
            "layers.",
        )  # fmt: skip
    if rule.allow.roles and not any(_is_of_aws(host) for host in grant.hosts):
        yield warning(
            "egress-lacks-grant", policy, rule.line,
            f"rule {rule.name!r} grants a role, and does not let jobs reach any host of AWS",
            "Add the endpoints that its jobs call to hosts, such as sts.us-east-1.amazonaws.com; "
            "credentials are renewed without any.",
        )  # fmt: skip

    if rule.allow.builds and not (grant.hosts or grant.networks):
        yield warning(
            "egress-lacks-grant", policy, rule.line,
            f"rule {rule.name!r} grants image builds, and does not let jobs reach any host: no "
            "base image can be pulled",
            "Add the registries of base images to hosts, and where they redirect to for their "
            "layers; `mode: observe` finds them.",
        )  # fmt: skip


def _is_of_aws(pattern: str) -> bool:
    return pattern == ANY_NAME or pattern.endswith(_AWS)


def _reaches(grant: EgressGrant, host: str) -> bool:
    try:
        address = IPv4Address(host)
    except ValueError:
        return grant.has_name(host)
    return any(address in network for network in grant.networks)


def _open_wildcard(policy: Policy, rule: Rule) -> Iterator[Finding]:
    grant = rule.allow.egress
    for host in grant.hosts if grant else ():
        if host == ANY_NAME:
            yield warning(
                "egress-open-wildcard", policy, rule.line,
                f"rule {rule.name!r} lets jobs reach every public name: a job can send anywhere "
                "whatever it has",
                "List the names that the jobs need, or say in a comment that the list is there for "
                "private networks alone.",
            )  # fmt: skip
            continue
        whole = host.startswith("*.") and host.count(".") == 1
        if whole or any(covers(host, one) or host == one for one in _OF_ANYONE):
            yield warning(
                "egress-open-wildcard", policy, rule.line,
                f"rule {rule.name!r} lets jobs reach {host}, where anyone can have a name: a job "
                "can send there whatever it has",
                "List the names that the jobs need.",
            )  # fmt: skip


def _observed(policy: Policy, rule: Rule) -> Iterator[Finding]:
    grant = rule.allow.egress
    if grant is not None and grant.observe:
        yield warning(
            "egress-observed", policy, rule.line,
            f"rule {rule.name!r} only observes what its jobs reach: they reach everything",
            "Replace `mode: observe` by the list at the end of the log of a job.",
        )  # fmt: skip


def _very_wide(policy: Policy, rule: Rule) -> Iterator[Finding]:
    grant = rule.allow.egress
    for text in grant.cidrs if grant else ():
        if IPv4Network(text).prefixlen < 16:
            yield warning(
                "egress-wide-network", policy, rule.line,
                f"rule {rule.name!r} lets jobs reach {text}, more than 65536 public addresses",
                "List the hosts by their names, or smaller networks.",
            )  # fmt: skip


CHECKS: tuple[Callable[[Policy, Rule], Iterator[Finding]], ...] = (
    _repository,
    _grants,
    _open_wildcard,
    _observed,
    _very_wide,
)
