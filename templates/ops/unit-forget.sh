# Removes what is left of a command that was begun under a name, unless it still runs.
set -eu
folder=$1
[ -d "$folder" ] || exit 0
# The lock is let go a moment after the exit code is there.
if [ ! -e "$folder/exit" ] && ! flock -n -- "$folder/lock" true; then
    echo "it still runs" >&2
    exit 1
fi
rm -rf -- "$folder"
