# The order: what needs nothing first; the volume before anything could be written where it will be mounted; secrets
# before the files that read them; all of it before GitLab is configured.
readonly STAGES=(time bundle keys volume hostname package rds-ca secrets databases files birth reconfigure)

# Said one by one, so that whoever changes a stage sees who calls it.
run() {
    case $1 in
        time) stage_time ;;
        bundle) stage_bundle ;;
        keys) stage_keys ;;
        volume) stage_volume ;;
        hostname) stage_hostname ;;
        package) stage_package ;;
        rds-ca) stage_rds_ca ;;
        secrets) stage_secrets ;;
        databases) stage_databases ;;
        files) stage_files ;;
        birth) stage_birth ;;
        reconfigure) stage_reconfigure ;;
    esac
}

main() {
    local stage code outcome=ready detail=''
    exec 3>&1
    prepare
    exec 9>"$RUN/lock"
    flock 9
    read_endpoints
    read_node
    credentials || exit 1
    INSTANCE=$(metadata instance-id) || exit 1
    ADDRESS=$(metadata local-ipv4) || exit 1
    CALLED=$NODE
    [[ $NODE != rails ]] || CALLED=rails-$INSTANCE
    rm -rf "$RUN/bundle" "$RUN/values"
    mkdir -p "$STATE/log"

    say "gantry: $CALLED of the site $SITE, a node of $ROLE"
    for stage in "${STAGES[@]}"; do
        say "$stage"
        : >"$RUN/detail"
        fresh_credentials || exit 1
        # A subshell, and not a condition: otherwise bash would not stop at the first command that fails.
        set +e
        (
            set -e
            run "$stage"
        ) >"$STATE/log/$stage.log" 2>&1 9>&-
        code=$?
        set -e
        ((code == 0)) && continue
        outcome=failed
        ((code != WAITING)) || outcome=waiting
        detail=$({ cat "$RUN/detail" && grep -Fvx -f "$RUN/detail" "$STATE/log/$stage.log" | tail -n 20 | cut -c 1-300; } | scrub || true)
        say "$outcome at $stage: $detail"
        break
    done
    [[ $outcome != ready ]] || stage=''
    if ! report "$outcome" "$stage" "$detail"; then
        say "the report could not be delivered"
        [[ $outcome != ready ]] || exit 1
    fi
    rm -rf "$RUN/values" "$RUN/answer" "$RUN/body"
    say "$outcome"
    case $outcome in
        ready) exit 0 ;;
        waiting) exit "$WAITING" ;;
        *) exit 1 ;;
    esac
}

main "$@"
