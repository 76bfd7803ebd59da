# Delete the trees that were discarded below the directory $1 (bootstrap/host/trash.py), one process
# at a time on this host and with the lowest priority. With $2 = "--nonblock" it ends at once if
# another process is deleting. Ends after an hour at the latest; the next call goes on.
renice -n 19 -p $$ >/dev/null 2>&1
ionice -c idle -p $$ >/dev/null 2>&1
echo 500 >/proc/self/oom_score_adj  # not the agent's score, which may be "never kill"
cd "$1" || exit 1
wait=$2
exec 9>trash.lock
set -- . -mindepth 2 -maxdepth 3 '(' -path './trash/*' -o -name '.discarded.*' ')' -prune
while [ -n "$(find "$@" -print -quit)" ]; do
  # shellcheck disable=SC2086 - if empty, it has to vanish
  flock $wait 9 || exit 0
  timeout 3600 find "$@" -exec rm -rf --one-file-system -- {} + || exit 1
  flock --unlock 9
done
