# Delete all that is in the directory $1: one process at a time on this host, and with the least
# claim to processor, disk and memory. $2 is "--nonblock" to leave it to a process that is already
# at it. Ends after an hour at the latest; whoever comes next goes on.
renice -n 19 -p $$ >/dev/null 2>&1
ionice -c idle -p $$ >/dev/null 2>&1
echo 500 >/proc/self/oom_score_adj  # not the agent's own, which may be "never"
exec 9>"$1.lock"
while [ -n "$(ls -A "$1")" ]; do
  # shellcheck disable=SC2086 - no second argument is no option
  flock $2 9 || exit 0
  timeout 3600 find "$1" -mindepth 1 -maxdepth 1 \
    -exec rm -rf --one-file-system -- {} + || exit 1
  flock --unlock 9
done
