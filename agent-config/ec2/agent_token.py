"""Writes the agent's token, a parameter of SSM, into buildkite-agent.cfg: for user data, as root.

It is read with the instance's role. Any other line `token` is removed, such as the package's own.
"""
# ruff: noqa: INP001 - a program, not part of a package

import argparse
import os
import re
import sys
from pathlib import Path

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_LINE = re.compile(r"^[ \t]*token[ \t]*[=:].*\n?", re.MULTILINE)
# Of Buildkite's tokens; a line break or a quote would make more of it than one setting.
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{8,512}")


def parameter(name: str, region: str) -> str:
    """Return the parameter's value. Raises botocore's errors after some attempts."""
    patient = Config(retries={"mode": "standard", "total_max_attempts": 6})
    client = botocore.session.get_session().create_client("ssm", region_name=region, config=patient)
    return str(client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])


def with_token(text: str, token: str) -> str:
    """Return the configuration with this token as its only one."""
    kept = _LINE.sub("", text)
    return f'{kept}{"" if kept.endswith(chr(10)) or not kept else chr(10)}token="{token}"\n'


def replace(path: Path, text: str) -> None:
    """Give the file this content in one step, and leave its owner and mode as they are."""
    before = path.stat()
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        os.fchown(file.fileno(), before.st_uid, before.st_gid)
        os.fchmod(file.fileno(), before.st_mode & 0o777)
    fresh.replace(path)


def main() -> int:
    """Return 0, or 1 with the reason if there is no token to write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parameter", metavar="PARAMETER", help="its name in SSM")
    parser.add_argument("--region", required=True)
    parser.add_argument("--agent-config", type=Path, metavar="FILE",
                        default=Path("/etc/buildkite-agent/buildkite-agent.cfg"))  # fmt: skip
    given = parser.parse_args()
    try:
        token = parameter(given.parameter, given.region).strip()
    except (BotoCoreError, ClientError) as failed:
        sys.stderr.write(f"agent_token: {given.parameter} could not be read: {failed}\n")
        return 1
    if not _TOKEN.fullmatch(token):
        sys.stderr.write(
            f"agent_token: {given.parameter} has {len(token)} characters, expected a token: "
            "8 to 512 letters, digits and _.-\n"
        )
        return 1
    replace(given.agent_config, with_token(given.agent_config.read_text(), token))
    return 0


if __name__ == "__main__":
    sys.exit(main())
