"""What the agent passes: the job's claims, the agent's values, and deadlines."""
