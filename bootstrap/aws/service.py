"""Calls of one AWS service, with retries: what all services have in common."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from bootstrap.aws.client import METADATA, Caller, connect
from bootstrap.aws.errors import Kind, kind, result
from bootstrap.host.config import Aws
from bootstrap.metrics import catalogue
from bootstrap.metrics.report import report
from bootstrap.retry import with_retries

if TYPE_CHECKING:
    from bootstrap.aws.model import Session

T = TypeVar("T")


class Service:
    """Connects when first called. Threads may share it.

    Throttling, 5xx, connection errors and, for the instance role, a metadata service that does not
    answer are retried with jitter; no call is begun that could end more than `patience` seconds
    after the first. Expired credentials are fetched anew, once per try.
    """

    def __init__(
        self,
        name: str,
        aws: Aws,
        *,
        patience: float,
        caller: "Caller | Session" = Caller.HOST,
        metadata: str = METADATA,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._aws = aws
        self._patience = patience
        self._caller = caller
        self._metadata = metadata
        self._clock = clock
        self._sleep = sleep
        self._client: Any = None
        self._lock = threading.Lock()

    def call(self, work: Callable[[Any], T], *, patience: float | None = None) -> T:
        """Return what `work` returns for a client. Raises its last failure: see `errors.kind`.

        `patience` replaces the service's own; with 0.0 there is one try.
        """
        return with_retries(
            lambda: self._with_fresh_credentials(work),
            transient=self._is_transient,
            patience=self._patience if patience is None else patience,
            clock=self._clock,
            sleep=self._sleep,
        )

    def _with_fresh_credentials(self, work: Callable[[Any], T]) -> T:
        try:
            return self._measured(work, self._connected())
        except Exception as failed:
            if kind(failed) is not Kind.STALE:
                raise
        self._client = None
        return self._measured(work, self._connected())

    def _measured(self, work: Callable[[Any], T], client: Any) -> T:  # noqa: ANN401
        outcome, began = "ok", self._clock()
        try:
            return work(client)
        except Exception as failed:
            outcome = result(failed)
            raise
        finally:
            report(catalogue.AWS_CALLS, service=self._name, result=outcome)
            report(catalogue.AWS_CALL_SECONDS, self._clock() - began, service=self._name)

    def _is_transient(self, failed: BaseException) -> bool:
        if kind(failed) is Kind.NO_CREDENTIALS and self._aws.credentials == "instance-role":
            self._client = None  # it would not ask the metadata service again
            return True
        return kind(failed) is Kind.TRANSIENT

    def _connected(self) -> Any:  # noqa: ANN401 - botocore is untyped
        """Return the client; threads share one, and one request for credentials."""
        with self._lock:
            self._client = self._client or connect(
                self._name, self._aws, metadata=self._metadata, caller=self._caller
            )
            return self._client
