"""What the documentation says about single jobs, written before the code was asked.

Each row is a pair of a document and a job, what has to be decided about it, and why. The sources
are docs/policy.md, docs/governance.md and, where these were silent, what deny by default demands.
"""
