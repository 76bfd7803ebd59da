"""`airlock record`: the records of jobs, one verb per module."""
