"""The IAM side of policies: what the hosts' role needs, and whom other roles trust.

Airlock tags every session and names its job as source identity (credentials.plan), so a role's
trust policy can require its pipelines and branches even of stolen credentials of the hosts' role.
"""
