# What the bootstrap starts in place of the job's own shell, with the command as its argument, in a
# replay with a prompt. Airlock puts settings in front: `when`, BUILDKITE_SHELL as the job has it, and
# the function `own_shell`, which runs its argument with that.
export BUILDKITE_SHELL
status=0
if [ "$when" = on-failure ]; then
	own_shell "$1" && exit 0
	status=$?
	echo "# The command has ended with status $status. Leave this shell to go on."
else
	echo "# Run the job's command by: sh /airlock/command. Leave this shell to go on with its status."
fi
export AIRLOCK_COMMAND="$1"
pwd >/run/buildkite/directory
export -p >/run/buildkite/variables
echo prompt >/run/buildkite/asked
read -r left </run/buildkite/answered
if [ "$when" = on-failure ]; then exit "$status"; fi
exit "$left"
