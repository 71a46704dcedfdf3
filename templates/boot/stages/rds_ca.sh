# Amazon's certificate authorities for RDS in this region, for sslmode=verify-full.
stage_rds_ca() {
    local target=$ROOT/etc/gitlab/ssl/rds-bundle.pem url status
    [[ $(field rds_ca) == true ]] || return 0
    url=${GANTRY_RDS_CA:-https://truststore.pki.rds.amazonaws.com}/$REGION/$REGION-bundle.pem
    status=$(ask "$RUN/rds" "url = $(quoted "$url")
connect-timeout = 10
max-time = 60")
    if [[ $status == 200 ]] && only_certificates <"$RUN/rds"; then
        place "$RUN/rds" "$target" 0644 root:root
    elif [[ -s $target ]]; then
        say "  $url answered $status; the certificates that are there stay"
    else
        refuse "the certificates of RDS are not to be had: $url answered $status, or no certificates"
    fi
}

only_certificates() {
    python3 -c '
import ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(cadata=sys.stdin.read())
sys.exit(0 if context.cert_store_stats()["x509_ca"] else "no authority in it")
'
}
