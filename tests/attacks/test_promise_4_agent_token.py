"""Promise 4: the token of the whole agent, where Buildkite issues none for the job alone."""

import pytest

from tests.fakes.control_plane import JobOrder
from tests.lab.lab import Fleet

pytestmark = pytest.mark.lab


def test_agent_wide_token_is_refused_in_sandbox_unless_configured(fleet: Fleet) -> None:
    """With it a job takes the agent's next job, by a ping as the agent sends it."""
    steal = (
        'code=$(curl -s -o /dev/null -w "%{http_code}" -H "Authorization: Token '
        '$BUILDKITE_AGENT_ACCESS_TOKEN" "$BUILDKITE_AGENT_ENDPOINT/ping"); echo the ping got $code'
    )
    with fleet.agent():
        job = fleet.control.enqueue(JobOrder(env=fleet.env(steal), own_token=False))
        assert fleet.control.finished(job) == ("78", "", ""), job.log.decode()
        assert b"is not this job's alone" in job.log
        honest = fleet.control.enqueue(fleet.env(steal))
        assert fleet.control.finished(honest)[0] == "0"
        assert b"the ping got 401" in honest.log
        text = fleet.config.read_text().replace("[policy]", '[policy]\nagent-tokens = "any"')
        fleet.config.write_text(text)
        admitted = fleet.control.enqueue(JobOrder(env=fleet.env(steal), own_token=False))
        assert fleet.control.finished(admitted)[0] == "0"
    assert b"the ping got 200" in admitted.log
    assert b"this job could take other jobs of the agent" in admitted.log
