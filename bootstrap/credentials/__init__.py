"""Sessions of a job's own: planned, obtained, served and renewed (docs/design.md#credentials)."""
