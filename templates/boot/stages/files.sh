# The files of the bundle, each in one step; and those that an earlier bundle brought and this one does not are removed.
stage_files() {
    local list=$STATE/files path mode owner units=no
    rows files | cut -f 1 >"$RUN/list"
    if [[ -f $list ]]; then
        # Whatever happens in between, what was laid down is remembered.
        sort -u "$list" "$RUN/list" >"$list.new"
    else
        sort -u "$RUN/list" >"$list.new"
    fi
    cmp --silent "$list.new" "$list" || cp "$list.new" "$list"
    while IFS=$'\t' read -r path mode owner; do
        place "$RUN/bundle/files$path" "$ROOT$path" "$mode" "$owner"
        [[ $CHANGED == no ]] && continue
        echo "laid down $path"
        [[ $path != /etc/systemd/system/* ]] || units=yes
    done < <(rows files)
    while read -r path; do
        grep -Fqx -- "$path" "$RUN/list" && continue
        rm -f "$ROOT$path"
        echo "removed $path"
        [[ $path != /etc/systemd/system/* ]] || units=yes
    done <"$list.new"
    sort -u "$RUN/list" >"$list.new"
    if cmp --silent "$list.new" "$list"; then rm -f "$list.new"; else mv -f "$list.new" "$list"; fi
    [[ $units == no ]] || systemctl daemon-reload
}
