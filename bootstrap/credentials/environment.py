"""The AWS part of a room's environment."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from bootstrap.aws.model import Session

ADDRESS = "169.254.170.2"

# Every one of these comes before the container endpoint in some SDK's chain, or steers it: a job
# that brings one would silently use something else than its grant
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


def strip(env: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the job's variables without its AWS chain, and the names that were left out."""
    kept = {name: value for name, value in env.items() if not in_chain(name)}
    return kept, tuple(sorted(name for name in env if name not in kept))


def in_chain(name: str) -> bool:
    """Say whether some AWS SDK takes its credentials, or the way to them, from this variable."""
    return any(fnmatchcase(name, pattern) for pattern in AWS_CHAIN)


def region_only(region: str) -> dict[str, str]:
    """Return what every room gets: without a region or with IMDS on, SDKs stall on the wall."""
    return {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def by_endpoint(path: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return what points every SDK at the job's listener, past any proxy of the job's."""
    return {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path, **past_proxies(env)}


def by_profiles(directory: str) -> dict[str, str]:
    """Return what points every SDK at the profiles of `config_file`."""
    return {"AWS_CONFIG_FILE": f"{directory}/config", "AWS_SDK_LOAD_CONFIG": "1"}


def config_file(profiles: Iterable[str], *, directory: str, region: str) -> bytes:
    """Write an AWS configuration file whose profiles read what the host keeps fresh.

    `credential_process` is the one form that boto3, Go, Java, JavaScript, Ruby and Terraform all
    know and that needs neither a token nor a second listener
    (docs/aws.md#tools-without-an-endpoint).
    """
    sections = (
        f"[profile {name}]\ncredential_process = cat {directory}/{name}.json\nregion = {region}\n"
        for name in profiles
    )
    return "".join(sections).encode()


def past_proxies(env: Mapping[str, str]) -> dict[str, str]:
    """Return both spellings of NO_PROXY, extended by the listener's address.

    Some tools read NO_PROXY and some no_proxy first: whichever the job set counts for both.
    """
    upper, lower = env.get("NO_PROXY", ""), env.get("no_proxy", "")
    return {"NO_PROXY": _with_address(upper or lower), "no_proxy": _with_address(lower or upper)}


def _with_address(value: str) -> str:
    """Leave `*` alone: it means every address already, and to most tools only by itself."""
    if value.strip() == "*" or ADDRESS in [entry.strip() for entry in value.split(",")]:
        return value
    return ",".join(filter(None, (value, ADDRESS)))


def by_variables(session: Session) -> dict[str, str]:
    """Return the session itself, for tools that read nothing else. It is not renewed."""
    return {
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key.reveal(),
        "AWS_SESSION_TOKEN": session.session_token.reveal(),
    }
