"""Airlock: a Buildkite bootstrap-script. Each job has its own decision, credentials and sandbox.

`run.py` is the whole course of a job in one function, and `admission.py` its decision. Below them
are packages, each importing only those named before it: `host` (this machine), `buildkite`, `job`,
`aws`, `grants`, `policy`, `credentials`, `sandbox` (docs/design.md#layout-of-the-code).
"""

__version__ = "0.1.0"
