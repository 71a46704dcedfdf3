# The boot program: makes this node what its bundle says. It runs at every boot and whenever it is called, one stage
# after the other; a stage that finds everything in place changes nothing. What a stage prints goes to its log under
# $STATE/log, which only root may read; the journal gets one line a stage, and what went wrong.

# How a stage ends that can only wait for somebody else.
readonly WAITING=75

# To the journal.
say() { printf '%s\n' "$*" >&3; }

# refuse TEXT: ends the stage; the text is what people read.
refuse() {
    printf '%s\n' "$*" | tee "$RUN/detail"
    exit 1
}

# hold_on TEXT: ends the stage until the next try.
hold_on() {
    printf '%s\n' "$*" | tee "$RUN/detail"
    exit "$WAITING"
}

# field NAME: a value of the manifest by its dotted name; nothing for null or absent. `unpack` wrote the tables.
field() { awk -F '\t' -v name="$1" '$1 == name { print $2 }' "$RUN/bundle/table.fields"; }

# rows LIST: a list of the manifest, an entry a line, fields apart by tabs: files (path, mode, owner) or secrets (name,
# entry, required).
rows() { cat "$RUN/bundle/table.$1"; }

# The entry of a secret in Secrets Manager, by its name; nothing if the manifest does not have it.
entry_of() { rows secrets | awk -F '\t' -v name="$1" '$1 == name { print $2 }'; }

# ids OWNER:GROUP: both as numbers.
ids() {
    local user group
    if [[ $1 == root:root ]]; then
        printf '0:0'
        return 0
    fi
    user=$(getent passwd "${1%%:*}" | cut -d : -f 3)
    group=$(getent group "${1##*:}" | cut -d : -f 3)
    [[ -n $user && -n $group ]] || refuse "there is no $1 on this node"
    printf '%s:%s' "$user" "$group"
}

# digest FILE: its SHA-256, or `none`.
digest() {
    local sum
    if [[ -f $1 ]]; then
        sum=$(sha256sum <"$1")
        printf '%s' "${sum%% *}"
    else
        printf 'none'
    fi
}

# place FILE TARGET MODE OWNER: the target gets this content, mode and owner in one step, and is not touched if it
# has them. CHANGED tells.
place() {
    local file=$1 target=$2 mode owner there new
    owner=$(ids "$4") || exit 1
    mode=$(printf '%o' "$((8#$3))")
    CHANGED=no
    if [[ -f $target && ! -L $target ]]; then
        there=$(stat -c '%a %u:%g' "$target")
        if [[ $there == "$mode $owner" ]] && cmp --silent "$file" "$target"; then return 0; fi
    fi
    CHANGED=yes
    mkdir -p "${target%/*}"
    new=${target%/*}/.gantry.${target##*/}
    rm -f "$new"
    (umask 077 && cp "$file" "$new")
    chown "$owner" "$new"
    chmod "$mode" "$new"
    sync "$new"
    mv -f "$new" "$target"
}

# settle TARGET TEXT: a world-readable file of root's with this text.
settle() {
    printf '%s\n' "$2" >"$RUN/text"
    place "$RUN/text" "$1" 0644 root:root
}

# scrub: stdin to stdout without what any file of secrets on this node holds.
scrub() {
    python3 -c '
import json, os, sys, urllib.parse
def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [leaf for part in value for leaf in leaves(part)]
    return [value] if isinstance(value, str) else []
words = set()
for top in sys.argv[1:]:
    names = [os.path.join(top, name) for name in os.listdir(top)] if os.path.isdir(top) else [top]
    for name in filter(os.path.isfile, names):
        with open(name, encoding="utf-8", errors="replace") as file:
            text = file.read()
        found = [text, text.strip()]
        try:
            found += leaves(json.loads(text))
        except ValueError:
            pass
        for word in found:
            words.update([word, json.dumps(word)[1:-1], urllib.parse.quote(word, safe="")])
            words.update(line.strip() for line in word.splitlines() if len(line.strip()) >= 12)
text = sys.stdin.buffer.read().decode("utf-8", errors="replace")
for word in sorted(words, key=len, reverse=True):
    if len(word) >= 6:
        text = text.replace(word, "[secret]")
sys.stdout.write(text)
' "$ETC/secrets.json" "$ROOT/etc/gitlab/gitlab-secrets.json" "$ROOT/var/opt/gitlab/gitlab-sshd" "$STATE/birth" "$RUN/values"
}
