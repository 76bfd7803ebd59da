"""Kinds of failed AWS calls (docs/aws.md#failed-calls).

They are told apart by botocore's class names and the services' codes, so that nothing here needs
botocore itself.
"""

# What is in none of these sets is a final no.
_TRANSIENT = frozenset(
    {
        "IDPCommunicationError",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
STALE = frozenset({"ExpiredToken", "ExpiredTokenException"})


def code(failed: BaseException) -> str:
    """Return the service's error code, or "" if it was not the service that failed."""
    response = getattr(failed, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def is_transient(failed: BaseException) -> bool:
    """Say whether another try, a moment later, may go better."""
    response = getattr(failed, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code(failed) in _TRANSIENT or status >= 500 or status == 429
    return bool(kinds(failed) & {"HTTPClientError", "ResponseParserError", "ConnectionError"})


def is_stale(failed: BaseException) -> bool:
    """Say whether the host's own credentials had expired."""
    return code(failed) in STALE


def has_no_credentials(failed: BaseException) -> bool:
    """Say whether the host's own credentials could not be had."""
    return bool(kinds(failed) & {"NoCredentialsError", "CredentialRetrievalError"})


def kinds(failed: BaseException) -> set[str]:
    """Return the names of the error's class and of all its bases."""
    return {kind.__name__ for kind in type(failed).__mro__}
