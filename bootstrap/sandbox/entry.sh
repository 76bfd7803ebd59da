#!/bin/sh
# The container's first program, as the job's user. It waits at the start gate until Airlock has
# proven the container's isolation and writes "go". If Airlock dies first, it reads end-of-file.
exec 2>&1
read -r message </airlock/go
[ "$message" = go ] || exit 125
cat /airlock/job-env >/run/buildkite/job-env
cat /airlock/job-env.json >/run/buildkite/job-env.json
. /airlock/env
exec /opt/airlock/bin/buildkite-agent bootstrap
