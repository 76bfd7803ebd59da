"""Working simulators of what is at the edge: they answer, record, and can fail on demand."""
