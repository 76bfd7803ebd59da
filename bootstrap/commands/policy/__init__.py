"""One file per verb of `airlock policy`."""
