"""The kinds of failed AWS calls (docs/aws.md#failed-calls).

They are recognised by botocore's class names and the services' codes, so that nothing here needs
botocore itself.
"""

from enum import Enum, auto


class Kind(Enum):
    """What a failure means, whichever service reports it."""

    TRANSIENT = auto()  # another try, a moment later, may succeed
    STALE = auto()  # the caller's credentials have expired
    NO_CREDENTIALS = auto()  # the host's source of credentials returned none
    UNUSABLE_CREDENTIALS = auto()  # the host's credentials file is incomplete or not readable
    ABSENT = auto()
    FORBIDDEN = auto()
    FORBIDDEN_KEY = auto()  # the value may be read, but not the KMS key that encrypts it
    TOKEN_REFUSED = auto()  # of web identity; AWS also answers FORBIDDEN
    WRONG_REQUEST = auto()
    OTHER = auto()  # final as well


_CODES = {
    "ExpiredToken": Kind.STALE,
    "ExpiredTokenException": Kind.STALE,
    "ParameterNotFound": Kind.ABSENT,
    "ResourceNotFoundException": Kind.ABSENT,
    "AccessDenied": Kind.FORBIDDEN,
    "AccessDeniedException": Kind.FORBIDDEN,
    "IDPRejectedClaim": Kind.TOKEN_REFUSED,
    "InvalidIdentityToken": Kind.TOKEN_REFUSED,
    "InvalidParameterCombination": Kind.WRONG_REQUEST,
    "InvalidParameterValue": Kind.WRONG_REQUEST,
    "MalformedPolicyDocument": Kind.WRONG_REQUEST,
    "PackedPolicyTooLarge": Kind.WRONG_REQUEST,
    "ValidationError": Kind.WRONG_REQUEST,
    "IDPCommunicationError": Kind.TRANSIENT,
    "InternalError": Kind.TRANSIENT,
    "InternalFailure": Kind.TRANSIENT,
    "InternalServerError": Kind.TRANSIENT,
    "RequestLimitExceeded": Kind.TRANSIENT,
    "RequestTimeout": Kind.TRANSIENT,
    "RequestTimeoutException": Kind.TRANSIENT,
    "ServiceUnavailable": Kind.TRANSIENT,
    "Throttling": Kind.TRANSIENT,
    "ThrottledException": Kind.TRANSIENT,
    "ThrottlingException": Kind.TRANSIENT,
    "TooManyRequestsException": Kind.TRANSIENT,
}
_CLASSES = {
    "NoCredentialsError": Kind.NO_CREDENTIALS,
    "CredentialRetrievalError": Kind.NO_CREDENTIALS,
    "PartialCredentialsError": Kind.UNUSABLE_CREDENTIALS,
    "ConfigParseError": Kind.UNUSABLE_CREDENTIALS,
    "ParamValidationError": Kind.WRONG_REQUEST,
    "HTTPClientError": Kind.TRANSIENT,
    "ConnectionError": Kind.TRANSIENT,
    "ResponseParserError": Kind.TRANSIENT,
}


_THROTTLED = {
    "RequestLimitExceeded", "Throttling", "ThrottledException", "ThrottlingException",
    "TooManyRequestsException",
}  # fmt: skip
_DENIED = {Kind.FORBIDDEN, Kind.FORBIDDEN_KEY, Kind.TOKEN_REFUSED}


def result(failed: BaseException) -> str:
    """Return what the failure counts as in the metrics."""
    if code(failed) in _THROTTLED or _status(failed) == 429:
        return "throttled"
    found = kind(failed)
    if found is Kind.TRANSIENT:
        return "transient"
    return "denied" if found in _DENIED else "error"


def code(failed: BaseException) -> str:
    """Return the service's error code, or "" if it was not the service that failed."""
    response = getattr(failed, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def kind(failed: BaseException) -> Kind:
    """Return what the failure means. An unknown code counts by its HTTP status."""
    response = getattr(failed, "response", None)
    if not isinstance(response, dict):
        names = (base.__name__ for base in type(failed).__mro__)
        return next((_CLASSES[name] for name in names if name in _CLASSES), Kind.OTHER)
    status = _status(failed)
    passing = Kind.TRANSIENT if status >= 500 or status == 429 else Kind.OTHER
    found = _CODES.get(code(failed), passing)
    return Kind.FORBIDDEN_KEY if found is Kind.FORBIDDEN and "kms:" in str(failed) else found


def _status(failed: BaseException) -> int:
    response = getattr(failed, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return int(metadata.get("HTTPStatusCode", 0))
