"""Service containers: the servers beside a job, in its network, that its rule names."""
