#!/bin/sh
# Is COMMIT on BRANCH of the remote "claimed"? Exit status 0: yes, 1: no, anything else: cannot tell.
# Runs in a container of its own that holds nothing of the job but these three values. What git needs
# for the remote, its URL and perhaps credentials, comes by GIT_CONFIG_* and GIT_SSH_COMMAND.
exec 2>&1
read -r word </airlock/go
[ "$word" = go ] || exit 125
. /airlock/env
export HOME=/tmp GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
ulimit -f "$LARGEST_FILE"
cd /cache || exit 3
[ -d objects ] || git init --quiet --bare . || exit 3
# What a check left that was killed: nobody else uses this cache now.
find . -name '*.lock' -o -name 'tmp_*' -o -name gc.pid | xargs rm -f
git check-ref-format "refs/heads/$BRANCH" || exit 4
# One ref, whatever the branch is called: it is what the next fetch need not send again.
git for-each-ref --format='delete %(refname)' | grep -v -x 'delete refs/airlock/claimed' |
  git update-ref --stdin || exit 3
# What a server says may have no end. /tmp is small, and part of this container's own memory.
remote() {
  timeout "$SECONDS_LEFT" git -c protocol.allow=never -c protocol.https.allow=always \
    -c protocol.http.allow=always -c protocol.ssh.allow=always -c protocol.git.allow=always \
    -c gc.auto=0 -c fetch.unpackLimit=1 "$@" 2>>/tmp/said
}
failed() { head -c 4000 /tmp/said; exit 5; }
# Where there is no such branch, git takes a tag or a branch that is itself called refs/heads/…,
# which whoever may push anything can make. So the branch has to be there by its full name.
remote ls-remote claimed "refs/heads/$BRANCH" | head -c 100000 >/tmp/refs
tab=$(printf '\t') there=no
while IFS="$tab" read -r _ ref; do
  [ "$ref" != "refs/heads/$BRANCH" ] || there=yes
done </tmp/refs
[ "$there" = yes ] || { echo "the repository has no branch $BRANCH, or did not say"; failed; }
remote fetch --quiet --no-tags --filter=blob:none --end-of-options \
  claimed "+refs/heads/$BRANCH:refs/airlock/claimed" >/dev/null || failed
git rev-list refs/airlock/claimed | grep --quiet --line-regexp --fixed-strings "$COMMIT"
answer=$?
timeout "$SECONDS_LEFT" git -c gc.autoDetach=false -c gc.pruneExpire=now gc --auto --quiet >/dev/null 2>&1
exit $answer
