"""The back end of a live job: Buildkite's own API, as far as the job's rule allows it."""
