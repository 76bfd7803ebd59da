"""`make demo`: two real jobs on this machine, printed as the agent would show them."""

import os
import sys
import tempfile
from pathlib import Path

from tests.lab.lab import ROLE, Fleet, fleet, lab
from tests.lab.leftovers import leftovers

POLICY = f"""  - name: deploy from main
    when: {{branch: main, creator-team: platform}}
    allow: {{role: "{ROLE}"}}
"""

JOB = """
echo "--- :aws: Who am I?"
AWS_PAGER= aws --endpoint-url {sts} sts get-caller-identity --output text --query Arn
echo "--- :lock: Can I become the machine?"
curl -sS -m 5 http://169.254.169.254/latest/meta-data/ || echo "no: curl exit status $?"
echo "--- :package: Artifacts and meta-data"
date > built.txt
buildkite-agent artifact upload built.txt
buildkite-agent meta-data set released yes
echo "--- :checkered_flag: Done, as $(id -un), in $(pwd)"
exit 3
"""


def main() -> int:
    """Run the demo; return 0 if both jobs ended as expected."""
    if os.geteuid() != 0:
        needs = "make demo needs root: it starts Docker, a network namespace and nftables"
        print(needs, file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory(prefix="airlock-demo-") as base,
        lab() as machine,
        fleet(machine, Path(base) / "fleet") as made,
    ):
        made.policy(POLICY)
        return _show(made)


def _show(made: Fleet) -> int:
    with made.agent():
        print("\nA real buildkite-agent runs a job that its policy admits:\n", flush=True)
        admitted = made.control.enqueue(made.env(JOB.format(sts=made.sts.url)))
        result = made.control.finished(admitted, 120)
        _print(admitted.log)
        print("\nThe same job from a fork's pull request:\n", flush=True)
        fork = {
            "BUILDKITE_PULL_REQUEST": "7",
            "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/mallory/storefront.git",
        }
        refused = made.control.enqueue(made.env(JOB, **fork))
        refusal = made.control.finished(refused)
        _print(refused.log)
    remains = leftovers(made)
    print(f"\nThe agent reported {result[0]!r} for the first job, {refusal[0]!r} for the fork's")
    print(f"Sessions that STS issued: {len(made.sts.asked)}")
    print(f"Requests to the metadata service from a job: {_from_jobs(made)}")
    print(f"Left behind: {remains or 'nothing'}")
    return 0 if (result[0], refusal[0], remains, _from_jobs(made)) == ("3", "77", [], 0) else 1


def _from_jobs(made: Fleet) -> int:
    """Count requests of jobs: those without the user agent of Airlock's botocore."""
    agents = [call.headers.get("user-agent", "").lower() for call in made.lab.metadata.calls]
    return sum("python" not in agent and "airlock" not in agent for agent in agents)


def _print(log: bytes) -> None:
    text = log.decode(errors="replace").replace("\r\n", "\n")
    print("\n".join(f"  │ {line}" for line in text.splitlines()), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
