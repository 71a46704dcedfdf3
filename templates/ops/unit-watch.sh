# Tells what became of a command that was begun under a name: one word or two on the first line, then what it wrote;
# while it runs, only the end of that.
set -eu
folder=$1
if [ ! -e "$folder/exit" ]; then
    if [ ! -e "$folder/started" ]; then
        echo absent
        exit 0
    fi
    if ! flock -n -- "$folder/lock" true; then
        echo running
        tail -c 4096 -- "$folder/output" 2>/dev/null || true
        exit 0
    fi
    # It may have ended between the two looks.
    if [ ! -e "$folder/exit" ]; then
        echo lost
        tail -c 4096 -- "$folder/output" 2>/dev/null || true
        exit 0
    fi
fi
printf 'exit %s\n' "$(cat -- "$folder/exit")"
cat -- "$folder/output"
