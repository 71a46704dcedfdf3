# Begins a command under a name, once: whoever asks again finds it there. The command goes on when the line to this
# node is cut. Its folder holds `started`, `lock` (held as long as it runs, let go by the kernel however it ends),
# `output`, and at last `exit`, its exit code. Standard input is what the command reads.
set -eu
umask 077
folder=$1
shift
[ -e "$folder/started" ] && exit 0
mkdir -p -- "$folder"
input=$(mktemp -- "$folder/input.XXXXXXXXXX")
trap 'rm -f -- "$input"' EXIT
cat >"$input"
# shellcheck disable=SC2016 # The inner script reads its own arguments.
setsid -f flock -n -- "$folder/lock" sh -c '
    folder=$1
    exec <"$2"
    shift 2
    [ -e "$folder/started" ] && exit 0
    : >"$folder/started"
    "$@" >"$folder/output" 2>&1
    printf "%s\n" "$?" >"$folder/exit.new"
    mv -f -- "$folder/exit.new" "$folder/exit"
' sh "$folder" "$input" "$@" </dev/null >/dev/null 2>&1
tries=0
until [ -e "$folder/started" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then
        echo "the command did not begin within ten seconds" >&2
        exit 1
    fi
    sleep 0.1
done
