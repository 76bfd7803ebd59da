#!/bin/sh
# Is COMMIT on BRANCH of the remote "claimed"? Exit status 0: yes, 1: no, other: unknown.
# Runs in its own container, which has nothing of the job but these values. What git needs for the
# remote, its URL and perhaps credentials, comes by GIT_CONFIG_* and GIT_SSH_COMMAND.
exec 2>&1
read -r message </airlock/go
[ "$message" = go ] || exit 125
. /airlock/env
export HOME=/tmp GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
ulimit -f "$LARGEST_FILE"
cd /cache || exit 3
[ -d objects ] || git init --quiet --bare . || exit 3
# Left by a check that was killed; this process has the cache to itself.
find . -name '*.lock' -o -name 'tmp_*' -o -name gc.pid | xargs rm -f
git check-ref-format "refs/heads/$BRANCH" || exit 4
# Keep one ref, whatever the branch is called: the next fetch sends only what it lacks.
git for-each-ref --format='delete %(refname)' | grep -v -x 'delete refs/airlock/claimed' |
  git update-ref --stdin || exit 3
# A server's output may be endless. /tmp is small, and counts as this container's memory.
remote() {
  timeout "$SECONDS_LEFT" git -c protocol.allow=never -c protocol.https.allow=always \
    -c protocol.http.allow=always -c protocol.ssh.allow=always -c protocol.git.allow=always \
    -c gc.auto=0 -c fetch.unpackLimit=1 "$@" 2>>/tmp/stderr
}
failed() { head -c 4000 /tmp/stderr; exit 5; }
# Without such a branch git would fetch a tag or branch that is itself called refs/heads/…, which
# anyone with push access can create. So the branch has to exist by its full name.
remote ls-remote claimed "refs/heads/$BRANCH" | head -c 100000 >/tmp/refs
tab=$(printf '\t') there=no
while IFS="$tab" read -r _ ref; do
  [ "$ref" != "refs/heads/$BRANCH" ] || there=yes
done </tmp/refs
[ "$there" = yes ] || { echo "the repository has no branch $BRANCH, or did not list it"; failed; }
remote fetch --quiet --no-tags --filter=blob:none --end-of-options \
  claimed "+refs/heads/$BRANCH:refs/airlock/claimed" >/dev/null || failed
git rev-list refs/airlock/claimed | grep --quiet --line-regexp --fixed-strings "$COMMIT"
answer=$?
timeout "$SECONDS_LEFT" git -c gc.autoDetach=false -c gc.pruneExpire=now gc --auto --quiet >/dev/null 2>&1
exit $answer
