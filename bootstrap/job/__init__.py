"""What the agent handed over."""
