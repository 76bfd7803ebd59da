"""The rule's tokens for git over https, and git's way to them."""

import re
from collections.abc import Mapping

from bootstrap.errors import WrongConfiguration
from bootstrap.sandbox.environment import AIRLOCK
from bootstrap.secret import Secret

HELPER, TOKENS = AIRLOCK / "git-credential", AIRLOCK / "git-credentials"
USER = "x-access-token"  # what GitHub, GitLab and Bitbucket take for a token without a name


def lines(tokens: Mapping[str, Secret]) -> bytes:
    """Return the helper's file: URL, user and token on each line. Raises WrongConfiguration."""
    return "".join(_line(url, token.reveal().strip()) for url, token in tokens.items()).encode()


def _line(url: str, token: str) -> str:
    user, colon, rest = token.partition(":")
    name, password = (user, rest) if colon else (USER, token)
    if not re.fullmatch(r"[!-~]+", name) or not re.fullmatch(r"[!-~]+", password):
        raise WrongConfiguration(
            f"the git token for {url} is no token",
            hint="Expected `token` or `user:token`, without blanks, where allow.git-tokens of the "
            "rule says it is stored.",
        )
    return f"{url} {name} {password}\n"


def variables(env: Mapping[str, str]) -> dict[str, str]:
    """Return git's settings by variables, after those that the job brings itself."""
    count = env.get("GIT_CONFIG_COUNT", "")
    first = int(count) if re.fullmatch(r"[0-9]{1,3}", count) else 0
    settings = (("credential.helper", str(HELPER)), ("credential.useHttpPath", "true"))
    numbered = dict(enumerate(settings, first))
    return {
        "GIT_CONFIG_COUNT": str(first + len(settings)),
        "GIT_TERMINAL_PROMPT": "0",
        **{f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in numbered.items()},
        **{f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in numbered.items()},
    }
