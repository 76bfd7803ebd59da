"""What a job reaches, where its rule has a list: its resolver and its table (docs/egress.md)."""
