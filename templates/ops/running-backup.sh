# Tells of a backup or restore that runs, by the file in which GitLab itself keeps its process number; nothing if none
# does.
set -eu
file=$1
[ -s "$file" ] || exit 0
number=$(tr -cd 0-9 <"$file")
[ -n "$number" ] || exit 0
[ -d "/proc/$number" ] || exit 0
printf 'process %s: %s\n' "$number" "$(tr '\0' ' ' <"/proc/$number/cmdline")"
