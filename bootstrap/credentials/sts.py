"""The only caller of AWS STS. Tried with botocore 1.44.5."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.credentials import refusals
from bootstrap.credentials.model import Session, SessionRequest
from bootstrap.host.config import Aws
from bootstrap.secret import Secret

if TYPE_CHECKING:
    from tenacity import RetryCallState

CHAINING_LIMIT = timedelta(hours=1)
METADATA = "http://169.254.169.254/"
CONNECT_TIMEOUT, READ_TIMEOUT = 2, 5  # seconds; of one call, of which there may be several


class Sts:
    """AssumeRole with the host's own credentials and nothing of the process's environment.

    It may be called from any thread, but from one at a time.
    """

    def __init__(
        self,
        aws: Aws,
        *,
        patience: float = 20.0,
        metadata: str = METADATA,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws
        self._patience = patience
        self._metadata = metadata
        self._clock = clock
        self._sleep = sleep
        self._client: Any = None

    def assume(self, request: SessionRequest) -> Session:
        """Return a session of the requested role, of an hour if role chaining allows no more.

        Throttling, 5xx, connection errors and a silent metadata service are retried with jitter;
        no call is begun that could end more than `patience` seconds after the first. Raises
        WrongConfiguration where STS finds the request itself wrong, else CannotStart.
        """
        from tenacity import (  # noqa: PLC0415 - imports that a refused job need not wait for
            Retrying,
            retry_if_exception,
            wait_random_exponential,
        )

        attempts = Retrying(
            retry=retry_if_exception(self._is_transient),
            wait=wait_random_exponential(multiplier=0.2, max=4),
            stop=self._stop(self._clock()),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return attempts(self._within_chaining_limit, request)
        except Exception as failed:
            raise refusals.explain(failed, request, self._aws) from failed

    def _stop(self, began: float) -> "Callable[[RetryCallState], bool]":
        one_call = CONNECT_TIMEOUT + READ_TIMEOUT

        def is_over(state: "RetryCallState") -> bool:
            ends = self._clock() - began + state.upcoming_sleep + one_call
            return ends > max(self._patience, one_call)

        return is_over

    def _is_transient(self, failed: BaseException) -> bool:
        if self._aws.credentials == "instance-role" and refusals.has_no_credentials(failed):
            self._client = None  # it has taken the metadata service's silence for an answer
            return True
        return refusals.is_transient(failed)

    def _within_chaining_limit(self, request: SessionRequest) -> Session:
        try:
            return self._with_fresh_base(request)
        except Exception as refused:
            if request.duration <= CHAINING_LIMIT or not refusals.is_chaining_limit(refused):
                raise
        return self._with_fresh_base(replace(request, duration=CHAINING_LIMIT))

    def _with_fresh_base(self, request: SessionRequest) -> Session:
        """Ask; if the host's own credentials have expired, fetch them anew and ask once more."""
        try:
            return self._ask(request)
        except Exception as refused:
            if not refusals.is_stale(refused):
                raise
        self._client = None
        return self._ask(request)

    def _ask(self, request: SessionRequest) -> Session:
        self._client = self._client or connect(self._aws, metadata=self._metadata)
        return _session(request, self._client.assume_role(**_parameters(request)))


def _parameters(request: SessionRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "RoleArn": request.role,
        "RoleSessionName": request.session_name,
        "DurationSeconds": int(request.duration.total_seconds()),
        "Tags": [{"Key": key, "Value": value} for key, value in request.tags.items()],
    }
    if request.source_identity:
        parameters["SourceIdentity"] = request.source_identity
    return parameters


def _session(request: SessionRequest, answer: dict[str, Any]) -> Session:
    issued = answer["Credentials"]
    return Session(
        role=request.role,
        access_key_id=issued["AccessKeyId"],
        secret_access_key=Secret(issued["SecretAccessKey"]),
        session_token=Secret(issued["SessionToken"]),
        expires=issued["Expiration"].astimezone(UTC),
        duration=request.duration,
        assumed_role=answer["AssumedRoleUser"]["Arn"],
        packed_size_percent=answer.get("PackedPolicySize"),
    )


def connect(aws: Aws, *, metadata: str = METADATA) -> Any:  # noqa: ANN401 - botocore is untyped
    """Return an STS client for the regional endpoint that makes exactly one try per call.

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
    return _core(aws, metadata).create_client(
        "sts", region_name=aws.region, endpoint_url=aws.sts_endpoint, verify=True, config=config
    )


def _core(aws: Aws, metadata: str) -> Any:  # noqa: ANN401
    """Return a botocore session in which every setting has its default and can have no other."""
    from botocore.configprovider import (  # noqa: PLC0415
        BOTOCORE_DEFAUT_SESSION_VARIABLES,
        ConfigValueStore,
    )
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
    core.register_component("credential_provider", _source(aws, metadata))
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
