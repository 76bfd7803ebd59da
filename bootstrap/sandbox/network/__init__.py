"""The network of all containers: the ruleset, and each container's part of it."""
