"""What a developer has at hand, read into one ReplayInput."""
