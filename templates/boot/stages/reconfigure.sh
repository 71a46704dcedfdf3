# GitLab's own configuration run: only when the bundle, a secret or the package is another than at the last good one.
stage_reconfigure() {
    local entry kept=$RUN/values/gitlab-secrets file=$ROOT/etc/gitlab/gitlab-secrets.json
    [[ -n $(field package.name) ]] || return 0
    [[ $(basis) != "$(cat "$STATE/reconfigured" 2>/dev/null)" ]] || return 0
    say "  gitlab-ctl reconfigure; its words are in $STATE/log/reconfigure.log"
    gitlab-ctl reconfigure </dev/null 3>&-
    # An upgrade adds keys to the file; the other nodes get them from here.
    entry=$(entry_of gitlab-secrets)
    if [[ $(field deploy) == true && -n $entry && -f $kept ]] && covers "$file" "$kept" && ! covers "$kept" "$file"; then
        put_value "$entry" "$file"
        (umask 077 && cp "$file" "$kept")
    fi
    basis >"$STATE/reconfigured.new"
    mv -f "$STATE/reconfigured.new" "$STATE/reconfigured"
}

# What the configuration of this node follows from.
basis() {
    local name
    printf 'bundle %s\n' "$(<"$RUN/bundle/sha256")"
    printf 'package %s\n' "$(package_state "$(field package.name)")"
    printf 'secrets %s\n' "$(digest "$ETC/secrets.json")"
    for name in gitlab-secrets ssh-host-keys; do printf '%s %s\n' "$name" "$(digest "$RUN/values/$name")"; done
}
