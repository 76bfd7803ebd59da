"""`airlock doctor`: what Airlock assumes of its host, read once and judged check by check."""
