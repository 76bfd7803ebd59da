"""The AWS identity of the person who runs a command, by their own configuration.

Only replays use it, with the person's own environment. Hosts never do: see client.py. No metadata
service is asked, neither that of an instance nor that of a container, whatever a profile says.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from bootstrap.aws.model import Session
from bootstrap.errors import WrongConfiguration
from bootstrap.secret import Secret

# Sources that would be those of the machine, or of a container that this runs in.
_OF_MACHINES = ("iam-role", "container-role", "boto-config")
_KEPT = ("AWS_", "HOME", "PATH", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


def credentials(profile: str | None, process_env: Mapping[str, str]) -> Session:
    """Return the credentials of a profile, or those that the environment leads to, as a session.

    Its expiry counts for nothing: it is used at once. May ask for a one-time password on the
    terminal. Raises WrongConfiguration if there is no such profile, or if it has no credentials.
    """
    with _environment(process_env):
        found = _found(profile)
    return Session(
        role=f"the profile {profile}" if profile else "your own credentials",
        access_key_id=str(found.access_key),
        secret_access_key=Secret(str(found.secret_key)),
        session_token=Secret(str(found.token or "")),
        expires=datetime.now(UTC) + timedelta(minutes=15),
        duration=timedelta(minutes=15),
        assumed_role="",
        packed_size_percent=None,
    )


def _found(profile: str | None) -> Any:  # noqa: ANN401 - botocore is untyped
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - 70 ms that few replays need
    from botocore.session import Session as Core  # noqa: PLC0415

    try:
        core = Core(profile=profile)
        chain = core.get_component("credential_provider")
        for source in _OF_MACHINES:
            chain.remove(source)
        found = core.get_credentials()
        if found is not None:
            return found.get_frozen_credentials()
    except BotoCoreError as failed:
        raise _none(profile, f": {failed}") from failed
    raise _none(profile, "")


def _none(profile: str | None, why: str) -> WrongConfiguration:
    which = f"the profile {profile!r} has" if profile else "your AWS configuration has"
    return WrongConfiguration(
        f"{which} no credentials{why}",
        hint="`aws sts get-caller-identity` with the same --profile has to work, without the "
        "credentials of this machine: log in first (`aws sso login`), or name another --profile.",
    )


@contextmanager
def _environment(process_env: Mapping[str, str]) -> Iterator[None]:
    """Have the person's own variables of AWS, which this process does not have otherwise."""
    before = dict(os.environ)
    own = {name: value for name, value in process_env.items() if name.startswith(_KEPT)}
    # A profile with `credential_source = Ec2InstanceMetadata` asks the metadata service itself.
    machine = {name for name in own if name.startswith("AWS_CONTAINER_")}
    for name in machine:
        del own[name]
    os.environ.update(own, AWS_EC2_METADATA_DISABLED="true")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
