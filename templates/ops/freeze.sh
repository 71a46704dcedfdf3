# Holds back all writes to a mounted file system, for so many seconds at most: a switch that is set first lets them
# through again when nobody comes back. A freeze that an earlier run left is ended before.
set -eu
umask 077
mount=$1
seconds=$2
marks=$3
case $mount in
/?*) ;;
*)
    echo "$mount is no place where a file system of its own may be" >&2
    exit 1
    ;;
esac
if ! mountpoint -q -- "$mount" || [ "$(stat -c %d -- "$mount")" = "$(stat -c %d -- /)" ]; then
    echo "$mount is not a file system of its own: freezing it would stop the whole machine" >&2
    exit 1
fi
mkdir -p -- "$marks"
if [ -n "$(find "$marks" -name 'mark.*')" ]; then
    find "$marks" -name 'mark.*' -delete
    fsfreeze --unfreeze "$mount" || true
fi
mark=$(mktemp -- "$marks/mark.XXXXXXXXXX")
# shellcheck disable=SC2016 # The inner script reads its own arguments.
setsid -f sh -c '
    sleep "$3"
    # Thawed in time, and perhaps frozen again since then.
    [ -e "$2" ] || exit 0
    rm -f -- "$2"
    fsfreeze --unfreeze "$1"
' sh "$mount" "$mark" "$seconds" </dev/null >/dev/null 2>&1
if ! fsfreeze --freeze "$mount"; then
    rm -f -- "$mark"
    exit 1
fi
