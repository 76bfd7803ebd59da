"""A prompt in the prepared checkout, as a person uses it: in a terminal, with their keyboard."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.developer import GID, UID
from tests.lab.engine import eventually
from tests.replay.conftest import Replays

pytestmark = pytest.mark.lab
PROMPT = "airlock "


class Terminal:
    """A terminal of tmux, of 100 columns and 30 rows, in which a developer runs one program."""

    def __init__(self, socket: Path, command: str) -> None:
        self._socket = socket
        self.status = socket.with_name("status")
        shell = f"{command}; echo $? >{shlex.quote(str(self.status))}; cat"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", shell)

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self._socket), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-J", "-S", "-200")

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def shows(self, text: str, seconds: float = 30) -> None:
        try:
            eventually(lambda: text in self.screen(), text, seconds)
        except TimeoutError as late:
            raise AssertionError(f"{text!r} is not on the screen:\n{self.screen()}") from late

    def prompts(self) -> int:
        return sum(line.startswith(PROMPT) for line in self.screen().splitlines())

    def types(self, line: str, shows: str) -> None:
        """Type a line at the prompt, and wait for what it prints and for the next prompt."""
        before = self.prompts()
        self.keys("-l", line)
        self.keys("Enter")
        self.shows(shows)
        eventually(lambda: self.prompts() > before, f"another prompt after {line}")

    def starts(self, name: str) -> None:
        """Have a program run in the foreground that only a key ends."""
        self.keys("-l", f"sh -c 'echo {name} runs; sleep 1000'")
        self.keys("Enter")
        self.shows(f"\n{name} runs")

    def ended(self) -> int:
        try:
            eventually(lambda: self.status.exists() and self.status.read_text(), "the replay ends")
        except TimeoutError as late:
            raise AssertionError(f"the replay has not ended:\n{self.screen()}") from late
        return int(self.status.read_text())

    def close(self) -> None:
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], check=False)


@contextmanager
def terminal(replays: Replays, tmp_path: Path, *arguments: str) -> Iterator[Terminal]:
    developer = replays.developer
    env = [f"{name}={value}" for name, value in developer.env().items()]
    group = Path(developer.docker.removeprefix("unix://")).stat().st_gid
    as_user = ["setpriv", f"--reuid={UID}", f"--regid={GID}", f"--groups={group}"]
    command = [
        *as_user,
        "env",
        "-i",
        "-C",
        str(developer.home),
        *env,
        *developer.command(*arguments),
    ]
    shown = Terminal(tmp_path / "tmux", shlex.join(command))
    try:
        yield shown
    finally:
        shown.close()


def test_prompt_is_a_shell_of_the_job_with_everything_that_a_terminal_has(
    replays: Replays, tmp_path: Path
) -> None:
    job = replays.record("echo the command; exit 4")
    with terminal(replays, tmp_path, *replays.arguments(job, "--shell")) as shown:
        shown.shows("sh /airlock/command")
        shown.types("git status", "nothing to commit")
        shown.types("buildkite-agent meta-data get buildkite:git:commit; echo", "Author: Lab")
        shown.types('echo "$BUILDKITE_BRANCH $PWD"', "main /var/lib/buildkite-agent/builds")
        shown.keys("Up")
        shown.keys("BSpace")
        shown.keys("-l", ' again"')
        shown.keys("Enter")
        shown.shows("storefront again")
        shown.starts("one")
        shown.keys("C-c")
        shown.types("echo status=$?", "status=130")
        shown.starts("two")
        shown.keys("C-z")
        shown.shows("Stopped")
        shown.types("jobs", "sleep 1000")
        shown.resize(120, 40)
        shown.types("stty size", "40 120")
        shown.types("sh /airlock/command", "the command")
        shown.types("echo status=$?", "status=4")
        shown.keys("-l", "fg")
        shown.keys("Enter")
        shown.shows("$ fg\nsh -c")
        shown.keys("C-c")
        shown.keys("-l", "exit 6")
        shown.keys("Enter")
        assert shown.ended() == 6
    assert replays.remains() == []


def test_prompt_after_a_failure_keeps_the_status(replays: Replays, tmp_path: Path) -> None:
    job = replays.record("export LATE=yes; echo failing; false", COLOUR="green")
    with terminal(replays, tmp_path, *replays.arguments(job, "--shell-on-failure")) as shown:
        shown.shows("The command has ended with status 1")
        shown.types('echo "colour=$COLOUR"', "colour=green")
        shown.keys("-l", "exit 0")
        shown.keys("Enter")
        assert shown.ended() == 1
    assert replays.remains() == []


def test_no_prompt_after_success(replays: Replays, tmp_path: Path) -> None:
    job = replays.record("echo done")
    with terminal(replays, tmp_path, *replays.arguments(job, "--shell-on-failure")) as shown:
        assert shown.ended() == 0


@pytest.mark.parametrize("option", ["--shell", "--shell-on-failure"])
def test_prompt_after_a_checkout_that_failed(replays: Replays, tmp_path: Path, option: str) -> None:
    job = replays.record("true", BUILDKITE_COMMIT="0" * 40)
    with terminal(replays, tmp_path, *replays.arguments(job, option)) as shown:
        shown.shows("The bootstrap has ended with status", 90)
        shown.types("echo $BUILDKITE_COMMIT", "0" * 40)
        shown.keys("-l", "exit")
        shown.keys("Enter")
        assert shown.ended() != 0


def test_prompt_in_the_checkout_of_a_job_that_ends_there(replays: Replays, tmp_path: Path) -> None:
    job = replays.record("true")
    arguments = replays.arguments(job, "--shell", "--until", "checkout")
    with terminal(replays, tmp_path, *arguments) as shown:
        shown.shows("The bootstrap has ended with status 0")
        shown.types("ls", "README.md")
        shown.keys("C-d")
        assert shown.ended() == 0


def test_interrupt_ends_the_command_and_gives_the_prompt(replays: Replays, tmp_path: Path) -> None:
    job = replays.record("echo begun; sleep 1000")
    with terminal(replays, tmp_path, *replays.arguments(job, "--shell-on-failure")) as shown:
        shown.shows("\nbegun")
        shown.keys("C-c")
        shown.shows("The bootstrap has ended with status")
        shown.keys("-l", "exit")
        shown.keys("Enter")
        assert shown.ended() != 0
    assert replays.remains() == []


@pytest.mark.parametrize("more", [("--shell",), ()])
def test_terminal_that_is_closed_ends_the_replay(
    replays: Replays, tmp_path: Path, more: tuple[str, ...]
) -> None:
    job = replays.record("echo begun; while sleep 0.1; do echo more; done")
    with terminal(replays, tmp_path, *replays.arguments(job, *more)) as shown:
        shown.shows("sh /airlock/command" if more else "\nbegun")
        assert replays.remains() != []
    eventually(lambda: replays.remains() == [], "nothing is left")
    assert replays.remains() == []


def test_prompt_needs_a_terminal(replays: Replays) -> None:
    done = replays.run("true", "--shell")
    assert done.returncode == 78
    assert b"a prompt needs a terminal" in done.stderr
