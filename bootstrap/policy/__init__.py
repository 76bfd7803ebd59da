"""May a job run, and as what."""
