"""AWS as the host's own credentials see it."""

from functools import partial

from bootstrap.aws.caller_identity import CallerIdentity, caller_identity
from bootstrap.aws.excess import excess
from bootstrap.doctor.model import Read, Unread, known
from bootstrap.doctor.read.metadata import metadata as asked
from bootstrap.doctor.read.reading import read
from bootstrap.doctor.snapshot import Aws, Metadata
from bootstrap.host.config import Host

_LATER = Unread(why="that is for later: see --at")
_NOT_KNOWN = Unread(why="STS does not know this host, see the check aws-identity")
PATIENCE = 5.0  # seconds for retries of one call


def metadata(host: Read[Host]) -> Read[Metadata]:
    """Return the metadata service where the host's credentials come from it."""
    if not isinstance(host, Host):
        return Unread(why="see the check configuration")
    if host.aws.credentials != "instance-role":
        return Unread(why=f"aws.credentials in airlock.toml is {host.aws.credentials}")
    return read(asked)


def later() -> Aws:
    """Return what is known before it is asked."""
    return Aws(identity=_LATER, clock=_LATER, excess=_LATER)


def aws(host: Read[Host]) -> Aws:
    """Return who this host is to AWS, and what it may do that it need not."""
    identity = read(lambda: caller_identity(known(host).aws, patience=PATIENCE))
    return Aws(
        identity=identity.arn if isinstance(identity, CallerIdentity) else identity,
        clock=identity.ahead if isinstance(identity, CallerIdentity) else _NOT_KNOWN,
        excess=read(partial(_excess, host, identity)),
    )


def _excess(host: Read[Host], identity: Read[CallerIdentity]) -> tuple[str, ...]:
    if not isinstance(identity, CallerIdentity):  # each of these calls would fail too
        known(_NOT_KNOWN)
    return tuple(excess(known(host).aws, patience=0.0))
