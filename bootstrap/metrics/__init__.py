"""What Airlock counts and measures about itself (docs/operations.md#metrics)."""
