# The keys of administrators, before anything that may fail, so that somebody can look. Those that go are removed with the
# other files of an earlier bundle.
stage_keys() {
    local path mode owner reload=no
    while IFS=$'\t' read -r path mode owner; do
        [[ $path == /etc/ssh/* ]] || continue
        place "$RUN/bundle/files$path" "$ROOT$path" "$mode" "$owner"
        [[ $CHANGED == no ]] && continue
        echo "laid down $path"
        reload=yes
    done < <(rows files)
    [[ $reload == no ]] || systemctl try-reload-or-restart ssh.service
}
