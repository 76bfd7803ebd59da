"""Airlock: a Buildkite bootstrap-script: papers checked, credentials of its own, a sealed room.

How a job travels: `run.py` is the whole way in one function. The rooms are `job` (what the agent
handed over), `policy` (may it run, and as what), `credentials` (sessions of its own), `sandbox`
(the sealed room) and `host` (this machine's configuration).
"""

__version__ = "0.1.0"
