"""Lets the job that runs end before an Auto Scaling group terminates this instance.

Waits until the group wants that, stops the agent, which waits for its job, and tells the group to
go on. As root, with the instance's role, by airlock-drain.service: docs/hosts.md#scale-in
"""
# ruff: noqa: INP001 - a program, not part of a package

import argparse
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException

import botocore.session
from botocore.exceptions import BotoCoreError, ClientError

_ENDS = "Terminated"  # of autoscaling/target-lifecycle-state; before, InService


def say(text: str) -> None:
    """Write a line into the journal."""
    sys.stderr.write(f"drain: {text}\n")


def metadata(host: str, path: str) -> str:
    """Return an item of the instance's metadata, "" if there is none.

    Raises OSError and HTTPException.
    """
    connection = HTTPConnection(host, timeout=5)
    seconds = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    _, token = _asked(connection, "PUT", "/latest/api/token", seconds)
    named = {"X-aws-ec2-metadata-token": token}
    found, value = _asked(connection, "GET", f"/latest/meta-data/{path}", named)
    connection.close()
    return value if found else ""  # not in a group, or not yet


def _asked(
    connection: HTTPConnection, method: str, path: str, headers: dict[str, str]
) -> tuple[bool, str]:
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status not in (200, 404):
        raise HTTPException(f"{method} {path}: {answer.status}")
    return answer.status == 200, text.strip()


def wait(host: str, every: float) -> str:
    """Wait until the instance is to end, and return its id."""
    while True:
        try:
            if metadata(host, "autoscaling/target-lifecycle-state") == _ENDS:
                return metadata(host, "instance-id")
        except (OSError, HTTPException) as failed:
            say(f"the metadata service did not answer: {failed}")
        time.sleep(every)


class Group:
    """The instance's lifecycle action at its Auto Scaling group."""

    def __init__(self, name: str, hook: str, instance: str, region: str) -> None:
        self._client = botocore.session.get_session().create_client(
            "autoscaling", region_name=region
        )
        self._action = {
            "AutoScalingGroupName": name, "LifecycleHookName": hook, "InstanceId": instance,
        }  # fmt: skip

    def prolong(self) -> None:
        """Have the group wait for another time-out; what fails now may succeed the next time."""
        try:
            self._client.record_lifecycle_action_heartbeat(**self._action)
        except (BotoCoreError, ClientError) as failed:
            say(f"the group was not asked to wait longer: {failed}")

    def go_on(self) -> None:
        """End the instance. Raises botocore's errors."""
        self._client.complete_lifecycle_action(LifecycleActionResult="CONTINUE", **self._action)


def stop(units: list[str], group: Group, every: float) -> int:
    """Stop the agents, however long their jobs take, and return systemctl's status."""
    stopping = subprocess.Popen(["systemctl", "stop", *units])
    while True:
        try:
            return stopping.wait(every)
        except subprocess.TimeoutExpired:
            group.prolong()


def main() -> int:
    """Return 0 when the group goes on, 1 if it could not be asked: systemd starts this again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("group", "hook", "region"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--unit", action="append", metavar="NAME",
                        help="the agents' (default: buildkite-agent.service)")  # fmt: skip
    parser.add_argument("--poll", type=float, default=10, metavar="SECONDS")
    parser.add_argument("--heartbeat", type=float, default=300, metavar="SECONDS")
    parser.add_argument("--metadata", default="169.254.169.254", metavar="HOST")
    given = parser.parse_args()
    instance = wait(given.metadata, given.poll)
    say(f"{given.group} ends {instance}: the agent stops after its job")
    group = Group(given.group, given.hook, instance, given.region)
    stopped = stop(given.unit or ["buildkite-agent.service"], group, given.heartbeat)
    if stopped != 0:
        say(f"systemctl stop ended with {stopped}")
        return 1
    try:
        group.go_on()
    except (BotoCoreError, ClientError) as failed:
        say(f"the group could not be asked to go on: {failed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
