"""Further AWS roles, as profiles whose sessions the host renews in files."""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any

from bootstrap.aws.model import Session
from bootstrap.forms import form
from bootstrap.grants.kind import Delivery, Kind, Needs, Obtained, Variables

_NAME = form(r"(?!default$)[\w.-]{1,64}", "an AWS profile's name other than default")


class Profiles(Kind[Mapping[str, str]]):
    """The ARN of a role for each profile."""

    key = "roles"
    noun = "role"

    @staticmethod
    def grammar() -> Any:  # noqa: ANN401 - an annotation
        """Return a mapping of names to ARNs."""
        from pydantic import AfterValidator, Field  # noqa: PLC0415 - see bootstrap/fields.py

        from bootstrap.fields import RoleArn  # noqa: PLC0415

        profile = Annotated[str, AfterValidator(_NAME)]
        return Annotated[dict[profile, RoleArn], Field(default={})]

    def needs(self) -> Needs:
        """Return the roles."""
        return Needs(roles=self.granted)

    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Write the configuration, and a file per session that each renewal replaces."""
        directory = sandbox.root / "profiles"
        config = config_file(self.granted, directory=directory, region=sandbox.region)
        sandbox.put(directory / "config", config)
        for name in self.granted:
            obtained.sessions[name].publish(partial(_put, sandbox, directory / f"{name}.json"))
        return {"AWS_CONFIG_FILE": f"{directory}/config", "AWS_SDK_LOAD_CONFIG": "1"}


def config_file(profiles: Iterable[str], *, directory: PurePosixPath, region: str) -> bytes:
    """Return an AWS configuration file whose profiles read the files that the host renews.

    `credential_process` is the one form that boto3, Go, Java, JavaScript, Ruby and Terraform all
    support and that needs neither a token nor a second listener
    (docs/aws.md#tools-without-an-endpoint).
    """
    sections = (
        f"[profile {name}]\ncredential_process = cat {directory}/{name}.json\nregion = {region}\n"
        for name in profiles
    )
    return "".join(sections).encode()


def _put(sandbox: Delivery, path: PurePosixPath, session: Session) -> None:
    sandbox.put(path, process_document(session))


def process_document(session: Session) -> bytes:
    """Return what a credential_process prints (docs/aws.md#tools-without-an-endpoint)."""
    return json.dumps(
        {
            "Version": 1,
            "AccessKeyId": session.access_key_id,
            "SecretAccessKey": session.secret_access_key.reveal(),
            "SessionToken": session.session_token.reveal(),
            "Expiration": f"{session.expires:%Y-%m-%dT%H:%M:%SZ}",
        }
    ).encode()
