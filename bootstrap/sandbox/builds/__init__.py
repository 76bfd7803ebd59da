"""Image builds: a BuildKit for one job, in a container beside its own (docs/builds.md)."""
