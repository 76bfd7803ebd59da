#!/bin/sh
# The container's first program, as the job's user. It waits at the start gate until Airlock has
# proven the container's isolation and writes "go". If Airlock dies first, it reads end-of-file.
exec 2>&1
read -r message </airlock/go
[ "$message" = go ] || exit 125
# Both copies while the environment is read, which has more variables than anything else has lines.
cat /airlock/job-env >/run/buildkite/job-env &
cat /airlock/job-env.json >/run/buildkite/job-env.json &
. /airlock/env
[ ! -f /airlock/prepare ] || . /airlock/prepare
wait
exec /opt/airlock/bin/buildkite-agent bootstrap
