"""The images of containers: found, pulled, and removed when no job uses them any more."""
