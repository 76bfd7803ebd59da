"""The only importer of botocore: clients that nothing of the environment steers. Tried: 1.44.5."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.host.config import Aws
from bootstrap.retry import ONE_CALL

if TYPE_CHECKING:
    from bootstrap.aws.model import Session

METADATA = "http://169.254.169.254/"
CONNECT_TIMEOUT = 2  # seconds
READ_TIMEOUT = ONE_CALL - CONNECT_TIMEOUT


class Caller(Enum):
    """Who calls, if it is no session of a job."""

    HOST = "with the credentials that airlock.toml names"
    NOBODY = "without any"


def connect(
    service: str,
    aws: Aws,
    *,
    endpoint: str | None = None,
    metadata: str = METADATA,
    caller: "Caller | Session" = Caller.HOST,
) -> Any:  # noqa: ANN401 - botocore is untyped
    """Return a client of a service's regional endpoint that makes exactly one try per call.

    Region, endpoint, certificates and credentials are ours or `aws`'s: no variable, no file of a
    home directory and no proxy of the process's environment changes any of them.
    """
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": 1},
        ignore_configured_endpoint_urls=True,
        proxies={},
    )
    core = _core()
    if caller is Caller.HOST:
        core.register_component("credential_provider", _source(aws, metadata))
    elif not isinstance(caller, Caller):
        secret, token = caller.secret_access_key.reveal(), caller.session_token.reveal()
        core.set_credentials(caller.access_key_id, secret, token)
    return core.create_client(
        service, region_name=aws.region, endpoint_url=endpoint, verify=True, config=config
    )


def _core() -> Any:  # noqa: ANN401
    """Return a botocore session without credentials, whose settings are their defaults."""
    from botocore.configprovider import (  # noqa: PLC0415
        BOTOCORE_DEFAUT_SESSION_VARIABLES,
        ConfigValueStore,
    )
    from botocore.credentials import CredentialResolver  # noqa: PLC0415
    from botocore.loaders import Loader  # noqa: PLC0415
    from botocore.session import Session as Core  # noqa: PLC0415

    settings = ConfigValueStore()
    for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
        settings.set_config_variable(name, default)
    for name, value in {
        "config_file": None,
        "credentials_file": None,
        "sts_regional_endpoints": "regional",
    }.items():
        settings.set_config_variable(name, value)
    core = Core()
    core.register_component("config_store", settings)
    core.register_component(
        "data_loader",
        Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False),
    )
    core.register_component("credential_provider", CredentialResolver([]))
    return core


def _source(aws: Aws, metadata: str) -> Any:  # noqa: ANN401
    """Return the one source that airlock.toml names."""
    from botocore import credentials  # noqa: PLC0415
    from botocore.httpsession import URLLib3Session  # noqa: PLC0415
    from botocore.utils import InstanceMetadataFetcher  # noqa: PLC0415

    if aws.credentials != "instance-role":
        path = Path(aws.credentials.removeprefix("file:"))
        provider = credentials.SharedCredentialProvider(str(path), profile_name="default")
        return credentials.CredentialResolver([provider])
    fetcher = InstanceMetadataFetcher(
        timeout=1, num_attempts=2, base_url=metadata, env={}, user_agent="airlock"
    )
    # It has no parameter for this, and would ask HTTP_PROXY for the instance's credentials.
    fetcher._session = URLLib3Session(timeout=1, proxies={})  # noqa: SLF001
    provider = credentials.InstanceMetadataProvider(iam_role_fetcher=fetcher)
    return credentials.CredentialResolver([provider])
