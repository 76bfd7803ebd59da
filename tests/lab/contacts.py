"""How the real git and the real agent read a spelling: which host they contact, for which path.

Nothing leaves the machine: git talks to a proxy on the loopback, and to recorders in place of ssh
and of `core.gitProxy`; transports that could not be recorded are not allowed.
"""

import base64
import json
import re
import shlex
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.fakes.git import self_signed

_RECORDER = '#!/bin/sh\nprintf "%s\\0" "$@" >"$RECORD"\n'
_SSH = _RECORDER + "exit 1\n"
# Not the last command: the shell would exec it, and git would see the end before it has written.
_GIT_PROXY = _RECORDER + (
    # git's first packet: four hexadecimal digits, its size with these (gitprotocol-common(5))
    'size=$(dd bs=1 count=4 2>/dev/null)\nprintf %s "$size" >>"$RECORD"\n'
    'dd bs=1 count=$((0x$size - 4)) 2>/dev/null >>"$RECORD"\nexit 1\n'
)
_ASKPASS = "#!/bin/sh\necho anonymous\n"
_CLONE = """#!/bin/sh
printf "%s\\0" "$@" "" >>"$RECORD"
[ "$1" != clone ] || mkdir hooks .git
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """The repository that git asked for, and where; without a port or user these are None."""

    transport: str
    user: str | None
    host: str
    port: str | None
    path: str


class Recorder:
    """Runs the real git. One proxy serves all clones; `ask` may be called several times."""

    def __init__(self, base: Path, proxy: "_Proxy") -> None:
        self._base, self._proxy = base, proxy
        for name, script in (("ssh", _SSH), ("git-proxy", _GIT_PROXY), ("askpass", _ASKPASS)):
            _script(base / name, script)

    def ask(self, urls: Iterable[str]) -> dict[str, Contact | None]:
        """Clone from every URL as the agent does; None where git contacts no host."""
        wanted = sorted(set(urls))
        with ThreadPoolExecutor(4) as pool:
            return dict(zip(wanted, pool.map(self._one, wanted), strict=True))

    def _one(self, url: str) -> Contact | None:
        place = Path(tempfile.mkdtemp(dir=self._base))
        record = place.with_suffix(".record")
        options = {
            "http.proxy": self._proxy.url,
            "http.sslVerify": "false",
            "http.extraHeader": f"X-Question: {place.name}",
            "core.gitProxy": str(self._base / "git-proxy"),
        }
        subprocess.run(
            ["git", *(word for option in options.items() for word in ("-c", "=".join(option))),
             "clone", "-q", "--", url, "."],
            cwd=place, env=self._env(record), capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        if record.exists():
            return _recorded(record.read_bytes().decode(errors="surrogateescape").split("\0"))
        return self._proxy.requests.get(place.name)

    def _env(self, record: Path) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._base),
            "RECORD": str(record),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TEMPLATE_DIR": "",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": str(self._base / "askpass"),
            "GIT_SSH": str(self._base / "ssh"),
            "GIT_SSH_VARIANT": "ssh",
            "GIT_ALLOW_PROTOCOL": "ssh:https:http:git",
        }


def _recorded(words: list[str]) -> Contact:
    """Read the recorded arguments of ssh (options, host, command) or of `core.gitProxy`."""
    if re.match(r"[0-9a-f]{4}git-upload-pack ", words[2]):
        return Contact(
            transport="git", user=None, host=words[0], port=words[1],
            path=words[2].partition("git-upload-pack ")[2],
        )  # fmt: skip
    *options, target, command, _ = words
    user, at, host = target.rpartition("@")  # ssh takes the last one too
    return Contact(
        transport="ssh",
        user=user if at else None,
        host=host,
        port=options[options.index("-p") + 1] if "-p" in options else None,
        path=shlex.split(command)[1],
    )


class _Proxy(ThreadingHTTPServer):
    """Answers every request with 401, then with 404; keeps the contact of each question."""

    daemon_threads = True

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.requests: dict[str, Contact] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect."""


class _Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy
    tunnel = ""

    def do_CONNECT(self) -> None:
        self.tunnel = self.path
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        login = self.headers.get("Authorization", "").removeprefix("Basic ")
        if login:
            user = base64.b64decode(login).decode().removesuffix(":anonymous").removesuffix(":")
            asked = self._contact(None if user == "anonymous" else user)
            self.server.requests[self.headers["X-Question"]] = asked
        self.send_response(404 if login else 401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _contact(self, user: str | None) -> Contact:
        url = f"https://{self.tunnel}{self.path}" if self.tunnel else self.path
        transport, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        host, _, port = authority.rpartition(":")
        has_port = bool(host) and port.isdigit()
        return Contact(
            transport=transport,
            user=user,
            host=host if has_port else authority,
            port=port if has_port else None,
            path=slash + path.partition("/info/refs?")[0],
        )

    def finish(self) -> None:
        """Close the tunnel's connection, too."""
        super().finish()
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Print nothing."""


@contextmanager
def recorder(base: Path) -> Iterator[Recorder]:
    """Serve the proxy until this closes."""
    base.mkdir(parents=True)
    with ExitStack() as held:
        proxy = held.enter_context(_Proxy(self_signed(base)))
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        held.callback(thread.join)
        held.callback(proxy.shutdown)
        yield Recorder(base, proxy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clone:
    """What the agent made git clone and check out, and the plugin's directory in it.

    `ref` None is the default branch; `directory` of the whole repository is `.`.
    """

    url: str
    ref: str | None
    directory: str


def agent_clones(agent: Path, base: Path, sources: Iterable[str]) -> dict[str, Clone | None]:
    """Have the real agent resolve each source in a job of its own; a recorder replaces git.

    None where the agent clones nothing.
    """
    wanted = sorted(set(sources))
    (base / "bin").mkdir(parents=True)
    _script(base / "bin/git", _CLONE)
    with ThreadPoolExecutor(4) as pool:
        places = [base / str(number) for number in range(len(wanted))]
        return dict(
            zip(wanted, pool.map(partial(_agent_clone, agent), places, wanted), strict=True)
        )


def _agent_clone(agent: Path, place: Path, source: str) -> Clone | None:
    record = place / "record"
    place.mkdir()
    env = {
        "PATH": f"{place.parent}/bin:/usr/bin:/bin",
        "HOME": str(place),
        "RECORD": str(record),
        **{f"BUILDKITE_{name}_PATH": str(place / name) for name in ("BUILD", "PLUGINS", "HOOKS")},
        "BUILDKITE_AGENT_NAME": "a",
        "BUILDKITE_ORGANIZATION_SLUG": "acme",
        "BUILDKITE_PIPELINE_SLUG": "storefront",
        "BUILDKITE_PIPELINE_PROVIDER": "none",
        "BUILDKITE_REPO": "http://127.0.0.1:9/storefront.git",
        "BUILDKITE_COMMIT": "HEAD",
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_JOB_ID": "0190",
        "BUILDKITE_COMMAND": "true",
        "BUILDKITE_AGENT_ACCESS_TOKEN": "none",
        "BUILDKITE_AGENT_ENDPOINT": "http://127.0.0.1:9",
        "BUILDKITE_AGENT_DEBUG": "true",
        "BUILDKITE_AGENT_NO_JOB_API": "true",
        "BUILDKITE_SSH_KEYSCAN": "false",
        "BUILDKITE_PLUGINS": json.dumps([source]),
    }
    done = subprocess.run(
        [str(agent), "bootstrap", "--phases", "plugin"],
        env=env, cwd=place, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    log = (done.stdout + done.stderr).decode()
    assert "~~~ Preparing plugins" in log, log
    if not record.exists():
        return None
    clone, *checkout = record.read_bytes().decode().removesuffix("\0\0").split("\0\0")
    directory = re.search(r'PluginDir: ("[^"\n]*")', log)
    assert directory, log
    return Clone(
        url=clone.split("\0")[-2],
        ref=checkout[0].split("\0")[-1] if checkout else None,
        directory=json.loads(directory[1]),
    )


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
