"""The files of the sandbox directory that make a prompt in the prepared checkout.

The container has a terminal. Its first program is a shell script that starts the bootstrap, and
waits for it to ask for a prompt: the bootstrap runs the command with a script in place of the job's
shell, which does that, and waits. So the prompt has what hooks and plugins have set, and job
control, which only the session of the first program can have on that terminal.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from bootstrap import packaged
from bootstrap.replay.options import Shell
from bootstrap.sandbox.environment import AIRLOCK

SHELL_NAME = "BUILDKITE_SHELL"
COMMAND_SHELL = f"/bin/sh {AIRLOCK / 'command-shell'}"


def files(when: Shell, own_shell: str, checkout: Path) -> Mapping[str, bytes]:
    """Return the files of the sandbox directory that make the prompt, by name.

    `own_shell` is the job's BUILDKITE_SHELL, `checkout` where its checkout will be.
    """
    if when is Shell.NEVER:
        return {}
    run = f"{own_shell} "
    settings = {
        "entry": f"when={when.value}\ncheckout={shlex.quote(str(checkout))}\n",
        "command-shell": (
            f"when={when.value}\n{SHELL_NAME}={shlex.quote(own_shell)}\n"
            f'own_shell() {{ {run}"$1"; }}\n'
        ),
        "command": f'exec {run}"$AIRLOCK_COMMAND"\n',
    }
    parts = {"entry": "entry_shell.sh", "command-shell": "command_shell.sh"}
    return {
        name: text.encode()
        + (packaged.data("bootstrap.replay", parts[name]) if name in parts else b"")
        for name, text in settings.items()
    }
