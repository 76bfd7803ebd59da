"""Sessions of a job's own: planned, obtained, served and renewed (DESIGN section 6)."""
