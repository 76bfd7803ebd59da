"""Who AWS takes this host for, and how far this host's clock is from AWS's."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from bootstrap.aws import sts_errors
from bootstrap.aws.service import Service
from bootstrap.host.config import Aws


@dataclass(frozen=True, kw_only=True, slots=True)
class CallerIdentity:
    """The ARN of the host's own credentials, and the seconds by which its clock is ahead."""

    arn: str
    ahead: float


def caller_identity(
    aws: Aws, *, patience: float, now: Callable[[], float] = time.time
) -> CallerIdentity:
    """Ask STS (GetCallerIdentity), which needs no permission. `now` is in seconds since the epoch.

    Raises as `sts_errors.of_host`, with the clocks' difference if that is why STS refuses.
    """
    service = Service("sts", aws, patience=patience)
    try:
        answer = service.call(lambda client: client.get_caller_identity())
    except Exception as failed:
        ahead = _ahead(getattr(failed, "response", None) or {}, now())
        raise sts_errors.of_host(failed, aws, ahead=ahead) from failed
    return CallerIdentity(arn=str(answer["Arn"]), ahead=_ahead(answer, now()))


def _ahead(answer: Mapping[str, Any], now: float) -> float:
    """Return by how many seconds `now` is after the answer's date; 0 if it has none."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return now - parsedate_to_datetime(str(date)).timestamp()
    except ValueError:
        return 0.0
