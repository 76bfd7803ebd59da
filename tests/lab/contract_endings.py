"""The cases of the contract about how jobs end: statuses, cancellation, timeouts."""

from tests.fakes.control_plane import ControlPlane
from tests.lab.contract import Case

SLEEPS = "trap 'echo the trap ran; exit {}' TERM; echo sleeping; sleep 60 & wait"
CANCELLED = ("-1", "SIGTERM", "cancel")

ENDINGS = (
    *(
        Case(name=f"exit {n}", command=f"exit {n}", ending=(str(n), "", ""))
        for n in (0, 1, 7, 77, 94)
    ),
    *(Case(name=f"exit {n}", command=f"exit {n}", ending=(str(n), "", "")) for n in (126, 127)),
    *(Case(name=f"exit {n}", command=f"exit {n}", ending=(str(n), "", "")) for n in (143, 255)),
    Case(
        name="exit 125 is the agent's", command="exit 125", ending=("-1", "", "process_run_error")
    ),
    Case(name="a pipeline's status", command="false | true; exit 3", ending=("3", "", "")),
    Case(name="no such command", command="no-such-command-anywhere", ending=("127", "", "")),
    Case(name="a script of the repository", command="./script", shows=(b"a script of the repo",)),
    Case(name="the command's shell is killed", command="kill -9 $$", ending=("255", "", "")),
    Case(
        name="a failing pre-exit hook overrides",
        command="exit 7",
        env={"CONTRACT_PRE_EXIT": "9"},
        ending=("9", "", ""),
    ),
    Case(
        name="a commit that does not exist",
        command="echo the command ran",
        env={"BUILDKITE_COMMIT": "0" * 40},
        ending=("128", "", ""),
        hides=(b"\nthe command ran",),
    ),
)

CANCELS = (
    Case(
        name="cancel",
        command=SLEEPS.format(3),
        seen=b"sleeping",
        then=ControlPlane.cancel,
        ending=CANCELLED,
        shows=(b"\nthe trap ran", b"\npre-exit: cancelled=true timed-out=no"),
    ),
    Case(
        name="cancel a command that then succeeds",
        command=SLEEPS.format(0),
        seen=b"sleeping",
        then=ControlPlane.cancel,
        ending=CANCELLED,
        shows=(b"\nthe trap ran", b"\npre-exit: cancelled=true timed-out=no"),
    ),
    Case(
        name="cancel without a PTY",
        command=SLEEPS.format(3),
        pty=False,
        seen=b"sleeping",
        then=ControlPlane.cancel,
        ending=CANCELLED,
        shows=(b"\nthe trap ran", b"\npre-exit: cancelled=true timed-out=no"),
    ),
    Case(
        name="timeout",
        command=SLEEPS.format(3),
        seen=b"sleeping",
        then=ControlPlane.time_out,
        ending=CANCELLED,
        shows=(b"\nthe trap ran", b"\npre-exit: cancelled=true timed-out=true"),
    ),
)
