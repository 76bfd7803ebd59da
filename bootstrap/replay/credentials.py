"""The session of a replayed job: none, or one that the developer's own identity assumes.

Never the instance role's: nothing here asks a metadata service (aws/own_identity.py).
"""

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from socket import socket
from typing import assert_never

from bootstrap.aws import own_identity, tags
from bootstrap.aws.errors import Kind, kind
from bootstrap.aws.model import Session, SessionRequest
from bootstrap.aws.sts import Sts
from bootstrap.credentials import environment as aws_environment
from bootstrap.credentials.endpoint import serving_at
from bootstrap.credentials.plan import plans
from bootstrap.credentials.renewal import Assume, Renewal, Sessions
from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.grants.role import Role, by_endpoint
from bootstrap.host.config import Aws
from bootstrap.job.model import Claims
from bootstrap.log import JobLog
from bootstrap.policy.model import Grant
from bootstrap.replay.machine import Machine
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import Credentials, NoCredentials, OwnProfile
from bootstrap.sandbox.network.firewall import ENDPOINT_ADDRESS
from bootstrap.secret import Secret

TAG = "airlock:replay"  # of every session, with the developer's name: trust policies can refuse it


@contextmanager
def sessions(
    of: Credentials, found: ReplayInput, claims: Claims, machine: Machine, log: JobLog
) -> Iterator[Sessions | None]:
    """Yield the job's session, renewed until this closes; None if it gets none.

    Raises WrongConfiguration if there is no such profile or no role to assume, CannotStart if STS
    issues no session.
    """
    match of:
        case NoCredentials():
            yield None
        case OwnProfile(profile=profile, role=role):
            request = session_request(claims, role or _recorded(found), rule=_rule(found))
            endpoint = machine.env.get("AWS_ENDPOINT_URL_STS")
            aws = Aws(region=machine.region, sts_endpoint=endpoint)
            caller = own_identity.credentials(profile, machine.env)
            assume = Sts(aws, token=_no_token, caller=caller).assume
            log.note(f"assuming the role {request.role}")
            first = _first(assume, request)
            log.mask(first.secret_access_key, first.session_token)
            log.note(f"credentials of {first.assumed_role} until {first.expires:%H:%M} UTC")
            current = Sessions(first)
            renewal = Renewal(current, first, request, assume, warn=log.note)
            renewal.start()
            try:
                yield current
            finally:
                renewal.close()
        case _:
            assert_never(of)


@contextmanager
def served(
    current: Sessions | None, listener: socket | None, env: Mapping[str, str], region: str
) -> Iterator[dict[str, str]]:
    """Serve the session at the listener in the job's network; yield the job's variables for it."""
    variables = aws_environment.region_only(region)
    if current is None or listener is None:
        yield variables
        return
    with serving_at(listener, current, peer=ENDPOINT_ADDRESS) as endpoint:
        yield {**variables, **by_endpoint(endpoint.path, env)}


def _first(assume: Assume, request: SessionRequest) -> Session:
    try:
        return assume(request)
    except AirlockError as refused:
        raise type(refused)(refused.problem, hint=_what_to_do(refused.__cause__)) from refused


def _what_to_do(failed: BaseException | None) -> str:
    match kind(failed) if failed else None:
        case Kind.FORBIDDEN:
            return (
                "The role's trust policy has to let your own identity call sts:AssumeRole and "
                f"sts:TagSession, with the tag {TAG}; --assume names another role."
            )
        case Kind.TRANSIENT:
            return (
                "Check that this machine reaches STS, and AWS_REGION and AWS_ENDPOINT_URL_STS if "
                "they are set."
            )
        case _:
            return (
                "`aws sts get-caller-identity` with the same --profile has to work: log in again, "
                "or name another --profile."
            )


def session_request(claims: Claims, role: str, *, rule: str) -> SessionRequest:
    """Return the request that a host would make, marked as a replay's.

    It has no source identity, which trust policies rarely let a person set.
    """
    grant = Grant(kinds=(Role(granted=role),), source_identity=False)
    (request,) = plans(claims, grant, rule=rule).values()
    who = tags.tag_value(_user())
    name = tags.name(f"replay-{request.session_name}", unique=claims.job_id)
    return replace(request, session_name=name, tags={**request.tags, TAG: who})


def _user() -> str:
    """Return the developer's name on this machine, or their uid if that has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _recorded(found: ReplayInput) -> str:
    events = found.run.events if found.run else ()
    asked = (event.get("role") for event in events if event.get("event") == "session")
    roles = tuple(dict.fromkeys(role for role in asked if isinstance(role, str)))
    if len(roles) == 1:
        return roles[0]
    raise WrongConfiguration(
        f"{found.source} names {len(roles)} roles, expected one",
        hint="Name the role to assume with --assume.",
        details=roles,
    )


def _rule(found: ReplayInput) -> str:
    return str(found.run.decision.get("rule", "")) if found.run else ""


def _no_token() -> Secret:
    raise AssertionError("no request of a replay has a subject")
