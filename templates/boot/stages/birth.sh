# On the deploy node, once in the life of a site: gitlab-secrets.json and the host keys for Git over SSH are born here
# and kept in Secrets Manager, where every other node waits for them. Before the first migration, so that nothing is
# encrypted with a key that only this machine has.
stage_birth() {
    local entry
    [[ $(field deploy) == true ]] || return 0
    entry=$(entry_of ssh-host-keys)
    if [[ -n $entry && ! -f $RUN/values/ssh-host-keys ]]; then
        say "  making host keys"
        host_keys >"$RUN/values/new"
        mv "$RUN/values/new" "$RUN/values/ssh-host-keys"
        put_value "$entry" "$RUN/values/ssh-host-keys"
        lay_host_keys "$RUN/values/ssh-host-keys"
    fi
    # They are kept, perhaps since a call whose answer was lost.
    rm -rf "$STATE/birth"
    entry=$(entry_of gitlab-secrets)
    if [[ -n $entry && ! -f $RUN/values/gitlab-secrets ]]; then
        say "  giving birth to gitlab-secrets.json"
        # gitlab.rb looks at this file, and leaves the migrations out.
        : >"$ETC/birth"
        GANTRY_BIRTH=1 gitlab-ctl reconfigure </dev/null 3>&-
        [[ -s $ROOT/etc/gitlab/gitlab-secrets.json ]] || refuse "reconfigure made no gitlab-secrets.json"
        put_value "$entry" "$ROOT/etc/gitlab/gitlab-secrets.json"
        (umask 077 && cp "$ROOT/etc/gitlab/gitlab-secrets.json" "$RUN/values/gitlab-secrets")
    fi
    rm -f "$ETC/birth"
}

# Kept on disk until they are kept in Secrets Manager: a second try finds the same.
host_keys() {
    local type folder=$STATE/birth
    mkdir -p "$folder"
    chmod 0700 "$folder"
    for type in ed25519 ecdsa rsa; do
        [[ -s $folder/ssh_host_${type}_key.pub ]] && continue
        rm -f "$folder/ssh_host_${type}_key"
        ssh-keygen -q -t "$type" -N '' -C "$SITE" -f "$folder/ssh_host_${type}_key" >&2
    done
    (umask 077 && python3 -c '
import json, os, sys
keys = {}
for name in sorted(os.listdir(sys.argv[1])):
    with open(os.path.join(sys.argv[1], name), encoding="utf-8") as file:
        keys[name] = file.read()
json.dump(keys, sys.stdout)
' "$folder")
}
