# Delete everything in the directory $1, one process at a time on this host and with the lowest
# priority. With $2 = "--nonblock" it ends at once if another process is deleting. Ends after an
# hour at the latest; the next call goes on.
renice -n 19 -p $$ >/dev/null 2>&1
ionice -c idle -p $$ >/dev/null 2>&1
echo 500 >/proc/self/oom_score_adj  # not the agent's score, which may be "never kill"
exec 9>"$1.lock"
while [ -n "$(ls -A "$1")" ]; do
  # shellcheck disable=SC2086 - an empty second argument has to vanish
  flock $2 9 || exit 0
  timeout 3600 find "$1" -mindepth 1 -maxdepth 1 \
    -exec rm -rf --one-file-system -- {} + || exit 1
  flock --unlock 9
done
