"""The kinds of failures, with the exceptions that botocore really raises."""

import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError

from bootstrap.aws.errors import Kind, code, kind


def answer(code: str, status: int = 400, text: str = "") -> exceptions.ClientError:
    error = {"Code": code, "Message": text}
    response = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(response, "Operation")


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (answer("ThrottlingException"), Kind.TRANSIENT),
        (answer("Unheard", 503), Kind.TRANSIENT),
        (answer("Unheard", 429), Kind.TRANSIENT),
        (answer("Unheard"), Kind.OTHER),
        (answer("ExpiredToken"), Kind.STALE),
        (answer("ParameterNotFound"), Kind.ABSENT),
        (answer("AccessDenied", 403), Kind.FORBIDDEN),
        (answer("AccessDeniedException", text="perform: kms:Decrypt"), Kind.FORBIDDEN_KEY),
        (answer("InvalidIdentityToken"), Kind.TOKEN_REFUSED),
        (answer("ValidationError", text="kms:Decrypt"), Kind.WRONG_REQUEST),
        (exceptions.ParamValidationError(report="x"), Kind.WRONG_REQUEST),
        (exceptions.NoCredentialsError(), Kind.NO_CREDENTIALS),
        (exceptions.CredentialRetrievalError(provider="p", error_msg="m"), Kind.NO_CREDENTIALS),
        (exceptions.PartialCredentialsError(provider="p", cred_var="v"), Kind.UNUSABLE_CREDENTIALS),
        (exceptions.ConfigParseError(path="p"), Kind.UNUSABLE_CREDENTIALS),
        (exceptions.ConnectTimeoutError(endpoint_url="u"), Kind.TRANSIENT),
        (exceptions.EndpointConnectionError(endpoint_url="u"), Kind.TRANSIENT),
        (exceptions.SSLError(endpoint_url="u", error="e"), Kind.TRANSIENT),
        (exceptions.ReadTimeoutError(endpoint_url="u"), Kind.TRANSIENT),
        (ResponseParserError("x"), Kind.TRANSIENT),
        (ValueError("x"), Kind.OTHER),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else type(value).__name__,
)
def test_failure_has_its_kind(failed: Exception, expected: Kind) -> None:
    assert kind(failed) is expected


def test_code_of_what_is_not_the_services_answer_is_empty() -> None:
    assert code(answer("Throttling")) == "Throttling"
    assert code(exceptions.NoCredentialsError()) == ""
