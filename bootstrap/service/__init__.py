"""The resident service: one process that forks a worker for each job that a launcher sends."""
