"""What of AWS a sandbox's environment holds, and what of the job's it does not."""

import pytest

from bootstrap.credentials.environment import region_only, strip
from bootstrap.grants.role import by_endpoint, by_variables, past_proxies
from bootstrap.secret import Secret
from tests.credentials.given import session

DROPPED = [
    "AMAZON_ACCESS_KEY_ID",
    "AMAZON_SECRET_ACCESS_KEY",
    "AMAZON_SESSION_TOKEN",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_CREDENTIAL_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_METADATA_SERVICE_TIMEOUT",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SDK_LOAD_CONFIG",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
]
KEPT = [
    "AWS_ACCOUNT",
    "AWS_PAGER",
    "AWS_RETRY_MODE",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "MY_AWS_PROFILE",
]


def test_strip_removes_and_names_exactly_the_credential_chain() -> None:
    kept, dropped = strip(dict.fromkeys([*DROPPED, *KEPT], "x"))
    assert dropped == tuple(DROPPED)
    assert sorted(kept) == sorted(KEPT)


def test_every_sandbox_has_a_region_and_no_metadata() -> None:
    assert region_only("eu-central-1") == {
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_by_endpoint_sets_a_path_and_no_key() -> None:
    assert by_endpoint("/v1/x", {}) == {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v1/x",
        "NO_PROXY": "169.254.170.2",
        "no_proxy": "169.254.170.2",
    }


@pytest.mark.parametrize(
    ("upper", "lower", "upper_after", "lower_after"),
    [
        ("", "", "169.254.170.2", "169.254.170.2"),
        ("corp", "", "corp,169.254.170.2", "corp,169.254.170.2"),
        ("", "corp", "corp,169.254.170.2", "corp,169.254.170.2"),
        ("a", "b", "a,169.254.170.2", "b,169.254.170.2"),
        ("*", "", "*", "*"),
        ("a, 169.254.170.2", "", "a, 169.254.170.2", "a, 169.254.170.2"),
    ],
)
def test_no_proxy_is_extended_in_both_spellings(
    upper: str, lower: str, upper_after: str, lower_after: str
) -> None:
    assert past_proxies({"NO_PROXY": upper, "no_proxy": lower}) == {
        "NO_PROXY": upper_after,
        "no_proxy": lower_after,
    }


def test_by_variables_sets_the_session() -> None:
    made = by_variables(session())
    assert {name: str(value) for name, value in made.items()} == {
        "AWS_ACCESS_KEY_ID": "ASIAONE",
        "AWS_SECRET_ACCESS_KEY": "***",
        "AWS_SESSION_TOKEN": "***",
    }
    assert {n: v.reveal() if isinstance(v, Secret) else v for n, v in made.items()} == {
        "AWS_ACCESS_KEY_ID": "ASIAONE",
        "AWS_SECRET_ACCESS_KEY": "the-secret-key",
        "AWS_SESSION_TOKEN": "tok",
    }
