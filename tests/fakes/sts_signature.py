"""Whether a call was signed with a secret, by botocore's own SigV4."""

import hmac
import re

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.fakes.simulator import Call

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, *"
    r"SignedHeaders=(?P<headers>[^,]+), *Signature=(?P<signature>[0-9a-f]{64})"
)


def is_signed_with(call: Call, secret: str) -> bool:
    """Sign the call again and compare. A call without a signature has a wrong one."""
    found = _AUTHORIZATION.fullmatch(call.headers.get("authorization", ""))
    if not found:
        return False
    request = AWSRequest(
        method=call.method,
        url=f"http://{call.headers['host']}{call.path}",
        headers={name: call.headers.get(name, "") for name in found["headers"].split(";")},
        data=call.body,
    )
    request.context["timestamp"] = call.headers.get("x-amz-date", "")
    signer = SigV4Auth(Credentials("unused", secret), found["service"], found["region"])
    text = signer.string_to_sign(request, signer.canonical_request(request))
    expected: str = signer.signature(text, request)
    return hmac.compare_digest(expected, found["signature"])
