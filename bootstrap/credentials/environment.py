"""The AWS part of every sandbox's environment, whatever its grant."""

from collections.abc import Mapping

from bootstrap.policy.glob import beginnings, matches

# Every one of these comes before the container endpoint in some SDK's chain, or steers it: a job
# that sets one would silently use other credentials than its grant's
# (docs/aws.md#how-sdks-find-the-endpoint). AMAZON_* is Ruby's (aws-sdk-core
# credential_provider_chain.rb).
AWS_CHAIN = (
    "AMAZON_ACCESS_KEY_ID",
    "AMAZON_SECRET_ACCESS_KEY",
    "AMAZON_SESSION_TOKEN",
    "AWS_ACCESS_KEY*",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_*",
    "AWS_CREDENTIAL*",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_*",
    "AWS_METADATA_*",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_*",
    "AWS_SDK_LOAD_CONFIG",
    "AWS_SECRET_*",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
_BEGINNINGS = beginnings(AWS_CHAIN)


def strip(env: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the job's variables without its AWS chain, and the names that were left out."""
    kept = {name: value for name, value in env.items() if not in_chain(name)}
    return kept, tuple(sorted(name for name in env if name not in kept))


def in_chain(name: str) -> bool:
    """Return whether some AWS SDK finds its credentials, or their source, by this variable."""
    return name.startswith(_BEGINNINGS) and any(matches(pattern, name) for pattern in AWS_CHAIN)


def region_only(region: str) -> dict[str, str]:
    """Return what every sandbox gets: without a region, or with IMDS enabled, SDKs stall."""
    return {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
