"""Clients of boto3's core that ignore the environment. Verified with boto3 and botocore 1.44.5."""

from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.aws import models
from bootstrap.host.config import Aws
from bootstrap.host.proxy import Proxy
from bootstrap.retry import ONE_CALL

if TYPE_CHECKING:
    from bootstrap.aws.model import Session

METADATA = "http://169.254.169.254/"
CONNECT_TIMEOUT = 2  # seconds
READ_TIMEOUT = ONE_CALL - CONNECT_TIMEOUT


class Caller(Enum):
    """Whose credentials sign a call, if it is not a session of the job's."""

    HOST = "those that airlock.toml names"
    ANONYMOUS = "none"


def role_of(caller: "Caller | Session") -> str:
    """Name the role that an operator must change if the caller lacks a permission."""
    return "the host's role" if isinstance(caller, Caller) else caller.role


def connect(
    service: str,
    aws: Aws,
    *,
    metadata: str = METADATA,
    caller: "Caller | Session" = Caller.HOST,
) -> Any:  # noqa: ANN401 - botocore is untyped
    """Return a client of a service's regional endpoint that makes exactly one try per call.

    Region, endpoint, certificates, credentials and proxy are Airlock's or `aws`'s: no variable and
    no file in a home directory changes any of them. An endpoint that `aws` names is reached
    directly, and so is the metadata service.
    """
    if caller is Caller.HOST and (prepared := _prepared.take(service, aws)):
        core, client = prepared
        core.register_component("credential_provider", _source(aws, metadata))
        client._request_signer._credentials = core.get_credentials()  # noqa: SLF001
        return client
    core = _core()
    if caller is Caller.HOST:
        core.register_component("credential_provider", _source(aws, metadata))
    elif not isinstance(caller, Caller):
        secret, token = caller.secret_access_key.reveal(), caller.session_token.reveal()
        core.set_credentials(caller.access_key_id, secret, token)
    return _made(core, service, aws)


class _Prepared:
    """Clients without credentials, made before a process was forked: making one takes long."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Aws, Any, Any]] = {}

    def make(self, aws: Aws) -> None:
        """Make one of each service."""
        for service in _endpoints(aws):
            core = _core()
            self._made[service] = (aws, core, _made(core, service, aws))

    def take(self, service: str, aws: Aws) -> tuple[Any, Any] | None:
        """Return session and client, to nobody a second time; None without these settings."""
        settings, core, client = self._made.pop(service, (None, None, None))
        return (core, client) if settings is aws else None


_prepared = _Prepared()
prepare = _prepared.make


def _made(core: Any, service: str, aws: Aws) -> Any:  # noqa: ANN401 - botocore is untyped
    endpoint = _endpoints(aws)[service]
    if endpoint or not aws.https_proxy:
        return _client(core, service, aws.region, endpoint, proxy=None)
    proxied = _client(core, service, aws.region, None, proxy=aws.https_proxy)
    if aws.proxy_for(proxied.meta.endpoint_url):
        return proxied
    return _client(core, service, aws.region, None, proxy=None)


def _client(
    core: Any,  # noqa: ANN401 - botocore is untyped
    service: str,
    region: str,
    endpoint: str | None,
    *,
    proxy: Proxy | None,
) -> Any:  # noqa: ANN401
    from botocore.config import Config  # noqa: PLC0415 - 70 ms that a refused job need not wait for

    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": 1},
        ignore_configured_endpoint_urls=True,
        proxies={"https": proxy.url().reveal()} if proxy else {},  # never the environment's
    )
    # What boto3's own session calls. With that, 2.5 MiB of S3's transfers would be loaded too, of
    # which each running job has a part (docs/service.md#memory).
    return core.create_client(
        service, region_name=region, endpoint_url=endpoint, verify=True, config=config
    )


def _endpoints(aws: Aws) -> dict[str, str | None]:
    """Return the endpoints that airlock.toml names, by service; None is the region's own."""
    return {
        "sts": aws.sts_endpoint,
        "ssm": aws.ssm_endpoint,
        "secretsmanager": aws.secretsmanager_endpoint,
        "ecr": aws.ecr_endpoint,
    }


def _core() -> Any:  # noqa: ANN401
    """Return a botocore session without credentials, whose settings are their defaults."""
    from botocore.configprovider import (  # noqa: PLC0415
        BOTOCORE_DEFAUT_SESSION_VARIABLES,
        ConfigValueStore,
    )
    from botocore.credentials import CredentialResolver  # noqa: PLC0415
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
    core.register_component("data_loader", _loader())
    core.register_component("credential_provider", CredentialResolver([]))
    return core


@cache
def _loader() -> Any:  # noqa: ANN401
    """Return the loader of botocore's own service models, which caches them for later clients."""
    from botocore.loaders import JSONFileLoader, Loader  # noqa: PLC0415

    class Ours(Loader):  # type: ignore[misc]  # botocore is untyped
        """Knows the services that are called here: botocore looks through the files of 400."""

        def list_available_services(self, type_name: str) -> list[str]:
            del type_name
            return list(models.OPERATIONS)

    class Reduced(JSONFileLoader):  # type: ignore[misc]
        """Leaves out what is never called."""

        def load_file(self, file_path: str) -> Any:  # noqa: ANN401 - None, or what a file has
            """Return a file without that."""
            found, path = super().load_file(file_path), Path(file_path)
            if found and path.name == "endpoints":
                return models.only_known(found)
            if found and path.name == "service-2":
                return models.only_called(found, models.OPERATIONS[path.parts[-3]])
            return found

    return Ours(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH],
        include_default_search_paths=False,
        file_loader=Reduced(),
    )


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
