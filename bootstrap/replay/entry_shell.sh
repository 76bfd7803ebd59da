# The first program of a replay with a prompt, in place of sandbox/entry.sh. Airlock puts settings in
# front: `checkout` and `when`. The terminal is this session's, so a shell that is started here has
# job control; one that the bootstrap starts has a terminal of the bootstrap's.
read -r message </airlock/go
[ "$message" = go ] || exit 125
cat /airlock/job-env >/run/buildkite/job-env &
cat /airlock/job-env.json >/run/buildkite/job-env.json &
. /airlock/env
wait
cd /run/buildkite || exit 125
mkfifo asked answered
trap : INT # of the terminal: the bootstrap gets it too, and cancels the job
prompted=

# Start a shell in the directory $1 with the variables of the file $2, and return its status.
prompt() (
	if [ -n "$2" ]; then . "$2"; fi
	cd "$1" 2>/dev/null || cd "$BUILDKITE_BUILD_PATH" || cd /
	PS1='airlock \W \$ '
	if [ -x /bin/bash ]; then export PS1 && exec /bin/bash --norc --noprofile -i; fi
	export PS1='airlock $ ' && exec /bin/sh -i
)

(
	cd "$OLDPWD" || exit 125
	/opt/airlock/bin/buildkite-agent bootstrap
	echo "ended $?" >/run/buildkite/asked
) &
while :; do
	read -r what status </run/buildkite/asked || continue # a signal
	case $what in
	prompt)
		prompted=yes
		prompt "$(cat directory)" /run/buildkite/variables
		echo "$?" >/run/buildkite/answered
		;;
	ended)
		wait
		if [ -z "$prompted" ] && { [ "$when" = before ] || [ "$status" != 0 ]; }; then
			echo "# The bootstrap has ended with status $status. Leave this shell to end the replay."
			prompt "$checkout" ''
		fi
		exit "$status"
		;;
	esac
done
