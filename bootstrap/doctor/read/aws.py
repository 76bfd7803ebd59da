"""AWS as the host's own credentials see it."""

from bootstrap.aws.caller_identity import CallerIdentity, caller_identity
from bootstrap.aws.excess import excess
from bootstrap.doctor.model import Failed, Read, Unread, known
from bootstrap.doctor.read.metadata import metadata as asked
from bootstrap.doctor.read.reading import read
from bootstrap.doctor.snapshot import Aws, Metadata
from bootstrap.host.config import Host

_LATER = Unread(why="that is for later: see --at")
_REFUSED = Unread(why="STS does not know this host, see the check aws-identity")
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
    if not isinstance(identity, CallerIdentity):  # all further calls would fail too
        why = _REFUSED if isinstance(identity, Failed) else identity
        return Aws(identity=identity, clock=why, excess=why)
    return Aws(
        identity=identity.arn,
        clock=identity.ahead,
        excess=read(lambda: tuple(excess(known(host).aws, patience=0.0))),
    )
