"""The HTTP proxy of hosts that reach AWS and Buildkite through one, and what it is not used for."""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from bootstrap.secret import Secret

_URL = (
    r"http://(?:(?P<user>[^\s/?#@:]*):(?P<password>[^\s/?#@]*)@)?"
    r"(?P<address>[A-Za-z0-9.-]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5})/?"
)
_NAME = r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """A proxy that is asked to CONNECT. Only `address` (host:port) may be shown."""

    address: str
    user: str | None = None
    password: Secret | None = field(default=None, compare=False)  # percent-encoded, as `user`

    def url(self) -> Secret:
        """Return the whole URL."""
        login = f"{self.user}:{self.password.reveal()}@" if self.password else ""
        return Secret(f"http://{login}{self.address}")

    def authorization(self) -> Secret | None:
        """Return the header Proxy-Authorization, or None if the proxy has no password."""
        if self.password is None:
            return None
        login = f"{unquote(self.user or '')}:{unquote(self.password.reveal())}"
        return Secret(f"Basic {base64.b64encode(login.encode()).decode()}")

    def secrets(self) -> tuple[Secret, ...]:
        """Return what has to be masked wherever anything is printed."""
        if self.password is None:
            return ()
        return (self.password, Secret(unquote(self.password.reveal())))


ProxyFor = Callable[[str], Proxy | None]


def no_proxy(_url: str) -> None:
    """Reach every URL directly: a ProxyFor."""


def proxy(value: object) -> Proxy:
    """Return what a URL means; raises ValueError with what was expected."""
    found = re.fullmatch(_URL, value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('expected "http://host:port", or "http://user:password@host:port"')
    user, password = found["user"], found["password"]
    return Proxy(
        address=found["address"],
        user=user,
        password=None if password is None else Secret(password),
    )


def exception(value: str) -> str:
    """Return a host, domain, address or network in small letters; raises as `proxy`."""
    try:
        ip_network(value)
    except ValueError:
        if not re.fullmatch(_NAME, value):
            raise ValueError(
                'expected a host, a domain (".internal"), an address or a network (10.0.0.0/8)'
            ) from None
    return value.lower()


def is_direct(url: str, exceptions: Iterable[str]) -> bool:
    """Say whether a URL is reached without the proxy: none but https goes through it.

    A domain also excepts the hosts below it. Names are not resolved.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    return parts.scheme.lower() != "https" or any(_matches(host, one) for one in exceptions)


def _matches(host: str, exception: str) -> bool:
    try:
        return ip_address(host) in ip_network(exception)
    except ValueError:
        domain = exception.removeprefix(".")
        return host == domain or host.endswith(f".{domain}")


def of_environment(env: Mapping[str, str]) -> ProxyFor:
    """Return what a person's HTTPS_PROXY and NO_PROXY mean; raises as `proxy`.

    For commands that people run; hosts have what airlock.toml names. What is no exception to other
    programs either, such as a host with a port, excepts nothing.
    """
    named = {name.lower(): value.strip() for name, value in env.items()}
    url, listed = named.get("https_proxy", ""), named.get("no_proxy", "")
    if not url or listed == "*":
        return no_proxy
    found = proxy(url)
    exceptions = []
    for part in listed.split(","):
        with suppress(ValueError):
            exceptions.append(exception(part.strip().removeprefix("*")))
    return lambda of: None if is_direct(of, exceptions) else found
