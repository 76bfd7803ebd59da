#!/bin/sh
# Is COMMIT on BRANCH of REPOSITORY? Exit status 0: yes, 1: no, anything else: cannot tell.
# Runs in a room of its own that holds nothing of the job but these three words.
read -r word </airlock/go
[ "$word" = go ] || exit 125
. /airlock/env
export HOME=/tmp GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
cd /cache || exit 3
[ -d objects ] || git init --quiet --bare . || exit 3
git check-ref-format "refs/heads/$BRANCH" || exit 4
timeout "$SECONDS_LEFT" git -c protocol.allow=never -c protocol.https.allow=always \
  -c protocol.http.allow=always -c protocol.ssh.allow=always -c protocol.git.allow=always \
  fetch --quiet --no-tags --filter=blob:none --end-of-options \
  "$REPOSITORY" "+refs/heads/$BRANCH:refs/airlock/$BRANCH" 2>&1 || exit 5
git rev-list "refs/airlock/$BRANCH" | grep --quiet --line-regexp --fixed-strings "$COMMIT"
