"""Tokens for git over https, which a credential helper answers only for the rule's repositories."""

import base64
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from bootstrap.errors import WrongConfiguration
from bootstrap.forms import form
from bootstrap.grants.kind import Delivery, Kind, Needs, Obtained, Variables
from bootstrap.secret import Secret

HELPER, TOKENS = "git-credential", "git-credentials"  # below the sandbox directory
USER = "x-access-token"  # GitHub, GitLab and Bitbucket accept it as the user of any token

_URL = form(
    r"https://[a-z0-9.-]{1,253}(:[0-9]{1,5})?(/[\w.~+-]+)+/?",
    "https://host/owner/ or https://host/owner/name.git",
)


class GitTokens(Kind[Mapping[str, str]]):
    """The reference of a token for each repository, or for everything below a URL."""

    key = "git-tokens"
    noun = "secret"

    @staticmethod
    def grammar() -> Any:  # noqa: ANN401 - an annotation
        """Return a mapping of URLs to references."""
        from pydantic import AfterValidator, Field  # noqa: PLC0415 - see bootstrap/fields.py

        from bootstrap.fields import Reference  # noqa: PLC0415

        git_url = Annotated[str, AfterValidator(_URL)]
        return Annotated[dict[git_url, Reference], Field(default={})]

    def needs(self) -> Needs:
        """Return the tokens, by URL."""
        return Needs(references=self.granted)

    def fetches(self, repository: str) -> bool:
        """Return whether the URL is https: tokens are for nothing else."""
        return repository.startswith("https://")

    def hosts(self) -> tuple[str, ...]:
        """Return the hosts of the repositories."""
        return tuple(urlsplit(url).hostname or "" for url in self.granted)

    def check(self, obtained: Obtained) -> None:
        """Raise WrongConfiguration for a malformed token."""
        lines(self._tokens(obtained))

    def derived(self, obtained: Obtained) -> tuple[Secret, ...]:
        """Return the passwords, alone and as git sends them: a server may repeat what it got."""
        pairs = [_pair(token.reveal().strip()) for token in self._tokens(obtained).values()]
        return tuple(
            Secret(form)
            for name, password in pairs
            for form in (password, base64.b64encode(f"{name}:{password}".encode()).decode())
        )

    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Write the helper's file, and return the variables by which git calls the helper."""
        sandbox.put(sandbox.root / TOKENS, lines(self._tokens(obtained)))
        return variables(sandbox.root / HELPER, sandbox.env)

    def _tokens(self, obtained: Obtained) -> dict[str, Secret]:
        return {url: obtained.secrets[reference] for url, reference in self.granted.items()}


def lines(tokens: Mapping[str, Secret]) -> bytes:
    """Return the helper's file: URL, user and token on each line. Raises WrongConfiguration."""
    return "".join(_line(url, token.reveal().strip()) for url, token in tokens.items()).encode()


def _line(url: str, token: str) -> str:
    name, password = _pair(token)
    if not re.fullmatch(r"[!-~]+", name) or not re.fullmatch(r"[!-~]+", password):
        raise WrongConfiguration(
            f"the git token for {url} is malformed",
            hint="Store it as `token` or `user:token`, without blanks, in the secret that "
            "allow.git-tokens of the rule names.",
        )
    return f"{url} {name} {password}\n"


def _pair(token: str) -> tuple[str, str]:
    user, colon, rest = token.partition(":")
    return (user, rest) if colon else (USER, token)


def variables(helper: PurePosixPath, env: Mapping[str, str]) -> dict[str, str]:
    """Return git's settings as variables, numbered after those that the job sets itself."""
    count = env.get("GIT_CONFIG_COUNT", "")
    first = int(count) if re.fullmatch(r"[0-9]{1,3}", count) else 0
    # Through a shell: on a host whose /run is mounted noexec, so is the sandbox directory.
    call = f"!/bin/sh {helper}"
    settings = (("credential.helper", call), ("credential.useHttpPath", "true"))
    numbered = dict(enumerate(settings, first))
    return {
        "GIT_CONFIG_COUNT": str(first + len(settings)),
        "GIT_TERMINAL_PROMPT": "0",
        **{f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in numbered.items()},
        **{f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in numbered.items()},
    }
