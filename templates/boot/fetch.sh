# Gets the boot program that user data names by its hash, and becomes it. A program of any other content is not run.

main() {
    local program status
    prepare
    read_endpoints
    read_node
    program=$STATE/boot/$BOOT_SHA256.sh
    if ! hashes_to "$program" "$BOOT_SHA256"; then
        credentials || exit 1
        status=$(signed s3 "$RUN/program" "url = $(quoted "$(object_url "${PREFIX}boot/$BOOT_SHA256.sh")")")
        if [[ $status != 200 ]]; then
            complain "the boot program is not to be had: S3 answered $status $(fault "$RUN/program"); trying again later"
            exit 1
        fi
        if ! hashes_to "$RUN/program" "$BOOT_SHA256"; then
            complain "the boot program does not hash to $BOOT_SHA256: not run"
            rm -f "$RUN/program"
            exit 1
        fi
        mkdir -p "$STATE/boot"
        cp "$RUN/program" "$program.new"
        mv -f "$program.new" "$program"
    fi
    exec bash "$program"
}

main "$@"
