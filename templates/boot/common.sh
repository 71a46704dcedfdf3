# Shared by the fetcher in user data and the boot program: where things are, and calls to AWS.

# Another root is for trying this out beside a running system.
readonly ROOT=${GANTRY_ROOT:-}
readonly ETC=$ROOT/etc/gantry
readonly STATE=$ROOT/var/lib/gantry
# In memory, and gone with the next boot: answers with secrets in them pass through here.
readonly RUN=$ROOT/run/gantry

complain() { printf 'gantry: %s\n' "$*" >&2; }

pause() { sleep "${GANTRY_PAUSE:-$1}"; }

prepare() {
    umask 022
    mkdir -p "$RUN" "$STATE"
    chmod 0700 "$RUN" "$STATE"
}

# Addresses of services where they are not the usual ones: lines of NAME=value. Only names of ours are taken.
read_endpoints() {
    local name value
    [[ -r $ETC/endpoints ]] || return 0
    while IFS='=' read -r name value; do
        if [[ $name =~ ^GANTRY_[A-Z0-9_]+$ ]]; then printf -v "$name" '%s' "$value"; fi
    done <"$ETC/endpoints"
}

# Who this node is: SITE, NODE, ROLE, REGION, BUCKET, PREFIX, BOOT_SHA256.
read_node() {
    local words
    mapfile -t words < <(python3 -c '
import json, re, sys
node = json.load(sys.stdin)
if node["format"] != 1:
    sys.exit("gantry: node.json is of a format that this program does not know")
fields = ["site", "node", "role", "region", "bucket", "prefix", "boot_sha256"]
if not all(re.fullmatch("[a-z0-9./-]+", node[field]) for field in fields):
    sys.exit("gantry: node.json holds what no name can be")
print("\n".join(node[field] for field in fields))
' <"$ETC/node.json")
    if ((${#words[@]} != 7)); then
        complain "$ETC/node.json does not say who this node is"
        exit 1
    fi
    # The fetcher and the boot program each need some of them.
    # shellcheck disable=SC2034
    {
        SITE=${words[0]} NODE=${words[1]} ROLE=${words[2]} REGION=${words[3]} BUCKET=${words[4]} PREFIX=${words[5]}
        BOOT_SHA256=${words[6]}
    }
}

# hashes_to FILE SHA256
hashes_to() { printf '%s  %s\n' "$2" "$1" | sha256sum --check --status 2>/dev/null; }

# A text as curl's configuration quotes it.
quoted() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

# ask FILE CONFIGURATION: the answer goes into the file, its status to stdout (000: none came). The configuration
# reaches curl by stdin, so that nothing of it is ever in the list of processes. What may pass is tried again.
ask() {
    local file=$1 status try
    for ((try = 1; ; try++)); do
        : >"$file"
        status=$(printf '%s\n' "$2" |
            curl -q --silent --show-error --output "$file" --write-out '%{http_code}' --config -) || status=000
        case $status in
            000 | 408 | 429 | 5??) ((try < ${GANTRY_TRIES:-5})) || break ;;
            *) break ;;
        esac
        pause $((2 * try))
    done
    printf '%s' "$status"
}

# metadata PATH: what the instance metadata service says, which answers only who asked for a session first.
metadata() {
    local file=$RUN/metadata status
    status=$(ask "$file" "$(imds "latest/meta-data/$1")
header = $(quoted "X-aws-ec2-metadata-token: $METADATA_SESSION")")
    if [[ $status != 200 ]]; then
        complain "the instance metadata service answered $status for $1"
        rm -f "$file"
        return 1
    fi
    cat "$file"
    rm -f "$file"
}

imds() {
    printf 'noproxy = "*"\nconnect-timeout = 2\nmax-time = 5\nurl = %s' \
        "$(quoted "${GANTRY_IMDS:-http://169.254.169.254}/$1")"
}

# The credentials of the instance's own role, into KEY. They change every few hours.
credentials() {
    local status profile document
    status=$(ask "$RUN/metadata" "$(imds latest/api/token)
request = \"PUT\"
header = \"X-aws-ec2-metadata-token-ttl-seconds: 3600\"")
    METADATA_SESSION=$(<"$RUN/metadata")
    rm -f "$RUN/metadata"
    if [[ $status != 200 ]]; then
        complain "the instance metadata service answered $status"
        return 1
    fi
    profile=$(metadata iam/security-credentials/) || return 1
    document=$(metadata "iam/security-credentials/$profile") || return 1
    mapfile -t KEY < <(printf '%s' "$document" | python3 -c '
import json, sys
found = json.load(sys.stdin)
print(found["AccessKeyId"], found["SecretAccessKey"], found["Token"], sep="\n")
')
    if ((${#KEY[@]} != 3)); then
        complain "the instance metadata service has no credentials for $profile"
        return 1
    fi
    KEY_SINCE=$SECONDS
}

# Asks for them again when they are older than five minutes: the service has new ones that long before the old end.
fresh_credentials() { ((SECONDS - ${KEY_SINCE:--300} < 300)) || credentials; }

# signed SERVICE FILE CONFIGURATION [BODY]: as `ask`, with a signature. The body is a file. S3 wants its hash in a
# header, which curl adds by itself only in some versions.
signed() {
    local digest body=''
    digest=$(sha256sum <"${4:-/dev/null}")
    [[ -z ${4:-} ]] || body="data-binary = $(quoted "@$4")"
    [[ $1 != s3 ]] || body+=$'\n'"header = \"x-amz-content-sha256: ${digest%% *}\""
    ask "$2" "connect-timeout = 10
max-time = 600
user = $(quoted "${KEY[0]}:${KEY[1]}")
aws-sigv4 = $(quoted "aws:amz:$REGION:$1")
header = $(quoted "x-amz-security-token: ${KEY[2]}")
$body
$3"
}

object_url() {
    if [[ -n ${GANTRY_S3:-} ]]; then
        printf '%s' "$GANTRY_S3/$BUCKET/$1"
    else
        printf '%s' "https://$BUCKET.s3.$REGION.amazonaws.com/$1"
    fi
}

# The code of a refusal: `<Code>` of S3 and EC2, `__type` of Secrets Manager.
fault() {
    sed -n -e 's/.*<Code>\([A-Za-z0-9.]*\)<.*/\1/p' -e 's/.*"__type" *: *"\([^"]*#\)\{0,1\}\([A-Za-z0-9]*\)".*/\2/p' "$1" | head -n 1
}
