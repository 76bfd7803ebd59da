#!/bin/sh
# The room's first program, as the job's user. It runs nothing of the job before the host has
# shown that the walls stand and says so with "go"; if the host dies first, it reads end-of-file.
exec 2>&1
read -r word </airlock/go
[ "$word" = go ] || exit 125
cat /airlock/job-env >/run/buildkite/job-env
cat /airlock/job-env.json >/run/buildkite/job-env.json
. /airlock/env
exec /opt/airlock/bin/buildkite-agent bootstrap
