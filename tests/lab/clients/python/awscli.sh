#!/bin/sh
# Asks STS who it is with an AWS CLI: whoami URL SECONDS PROFILE COMMAND…; see ../README.md.
set -eu
url=$1 finish=$(($(date +%s) + $2)) profile=$3 rounds=0
shift 3
export AWS_PAGER=
while [ "$(date +%s)" -lt "$finish" ]; do
  "$@" --endpoint-url "$url" sts get-caller-identity >/dev/null
  "$@" --endpoint-url "$url" --profile "$profile" sts get-caller-identity >/dev/null
  rounds=$((rounds + 1))
  sleep 1
done
echo "awscli: rounds $rounds"
