"""The launcher against a service of the tests that speaks its protocol and nothing else."""
