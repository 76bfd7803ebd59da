"""What a job reaches, where its rule has a list: its resolver and its table (docs/egress.md)."""

import dns._features

# A job's names are ASCII, and the tables for others are a part of every worker's memory.
dns._features.force("idna", False)  # noqa: FBT003, SLF001 - its only form
