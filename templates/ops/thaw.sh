# Lets writes to a frozen file system through again. Says whether it was frozen until now.
set -eu
mount=$1
marks=$2
if [ -z "$(find "$marks" -name 'mark.*' 2>/dev/null)" ]; then
    echo thawed before
    exit 0
fi
# The mark first: from here on the switch does nothing.
find "$marks" -name 'mark.*' -delete
fsfreeze --unfreeze "$mount"
echo thawed now
