# The secrets of this node, from Secrets Manager with its own role: all of them, or none is laid down.
stage_secrets() {
    local name entry required code deploy missing=()
    deploy=$(field deploy)
    rm -rf "$RUN/values"
    mkdir -m 0700 "$RUN/values"
    [[ -n $(rows secrets) ]] || return 0
    while IFS=$'\t' read -r name entry required; do
        code=0
        value_of "$entry" "$RUN/values/$name" || code=$?
        ((code == 0)) && continue
        rm -f "$RUN/values/$name"
        [[ $required == true ]] || continue
        # These two are born on the deploy node.
        [[ $deploy == true && $name =~ ^(gitlab-secrets|ssh-host-keys)$ ]] || missing+=("$name")
    done < <(rows secrets)
    ((${#missing[@]} == 0)) || hold_on "no value yet in Secrets Manager: ${missing[*]}"

    (umask 077 && python3 -c '
import json, os, sys
folder, values = sys.argv[1], {}
for name in sorted(os.listdir(folder)):
    if name not in ("gitlab-secrets", "ssh-host-keys"):
        with open(os.path.join(folder, name), encoding="utf-8", newline="") as file:
            values[name] = file.read()
json.dump(values, sys.stdout, indent=2)
print()
' "$RUN/values" >"$RUN/secrets.json")
    place "$RUN/secrets.json" "$ETC/secrets.json" 0600 root:root
    rm -f "$RUN/secrets.json"
    if [[ -f $RUN/values/gitlab-secrets ]]; then lay_gitlab_secrets "$RUN/values/gitlab-secrets"; fi
    if [[ -f $RUN/values/ssh-host-keys ]]; then lay_host_keys "$RUN/values/ssh-host-keys"; fi
}

# secretsmanager ACTION FILE: the body is $RUN/body, which only root may read and which is gone afterwards.
secretsmanager() {
    local status
    status=$(signed secretsmanager "$2" "url = $(quoted "${GANTRY_SECRETS:-https://secretsmanager.$REGION.amazonaws.com}/")
header = \"Content-Type: application/x-amz-json-1.1\"
header = \"X-Amz-Target: secretsmanager.$1\"" "$RUN/body")
    rm -f "$RUN/body"
    printf '%s' "$status"
}

# value_of ENTRY FILE: 3 if the entry has no value yet.
value_of() {
    local status code
    printf '{"SecretId": "%s"}' "$1" >"$RUN/body"
    status=$(secretsmanager GetSecretValue "$RUN/answer")
    code=$(fault "$RUN/answer")
    if [[ $status == 200 ]]; then
        python3 -c '
import json, sys
sys.stdout.reconfigure(newline="")
sys.stdout.write(json.load(sys.stdin)["SecretString"])
' <"$RUN/answer" >"$2" || refuse "the secret $1 is no text"
        rm -f "$RUN/answer"
        return 0
    fi
    rm -f "$RUN/answer"
    [[ $status == 400 && $code == ResourceNotFoundException ]] && return 3
    refuse "Secrets Manager answered $status $code for $1"
}

# put_value ENTRY FILE: the token is made of the content, so that the same content is put once however often it is sent.
put_value() {
    local status
    # A run of reconfigure may lie between the last call and this one.
    fresh_credentials || refuse "the instance has no credentials"
    (umask 077 && python3 -c '
import hashlib, json, sys
value = sys.stdin.buffer.read()
if len(value) > 65536:
    sys.exit("longer than Secrets Manager takes")
mark = hashlib.sha256(sys.argv[1].encode() + b"\n" + value).hexdigest()
json.dump({"SecretId": sys.argv[1], "ClientRequestToken": mark, "SecretString": value.decode()}, sys.stdout)
' "$1" <"$2" >"$RUN/body") || refuse "$1 has no value that could be kept"
    status=$(secretsmanager PutSecretValue "$RUN/answer")
    [[ $status == 200 ]] || refuse "Secrets Manager answered $status $(fault "$RUN/answer") when $1 was to be kept"
    rm -f "$RUN/answer"
}

# covers FILE OTHER: whether the first JSON file says everything that the second says. The package adds keys to its
# file and writes it in its own way; that is no reason to overwrite it.
covers() {
    python3 -c '
import json, sys
def covers(have, want):
    if isinstance(want, dict):
        return isinstance(have, dict) and all(key in have and covers(have[key], want[key]) for key in want)
    return have == want
try:
    with open(sys.argv[1], encoding="utf-8") as one, open(sys.argv[2], encoding="utf-8") as other:
        sys.exit(0 if covers(json.load(one), json.load(other)) else 1)
except (OSError, ValueError):
    sys.exit(1)
' "$1" "$2"
}

lay_gitlab_secrets() {
    local target=$ROOT/etc/gitlab/gitlab-secrets.json
    if ! covers "$target" "$1"; then place "$1" "$target" 0600 root:root; fi
}

# lay_host_keys FILE: a JSON map of file name to content. gitlab-sshd runs as `git`, and reads only its own.
lay_host_keys() {
    local folder=$ROOT/var/opt/gitlab/gitlab-sshd name mode
    git_user
    if [[ ! -d $folder ]]; then
        mkdir -p "$folder"
        chown "$(ids git:git)" "$folder"
        chmod 0700 "$folder"
    fi
    rm -rf "$RUN/keys"
    mkdir -m 0700 "$RUN/keys"
    (umask 077 && python3 -c '
import json, os, re, sys
try:
    keys = json.load(sys.stdin).items()
except (AttributeError, ValueError):
    sys.exit("it is no JSON object")
for name, content in keys:
    if not re.fullmatch("ssh_host_[a-z0-9]+_key([.]pub)?", name):
        sys.exit(repr(name) + " is no name of a host key")
    with open(os.path.join(sys.argv[1], name), "w", encoding="utf-8") as file:
        file.write(content)
' "$RUN/keys" <"$1") || refuse "the secret ssh-host-keys is no map of host keys"
    for name in "$RUN/keys"/*; do
        mode=0600
        [[ $name != *.pub ]] || mode=0644
        place "$name" "$folder/${name##*/}" "$mode" git:git
    done
    rm -rf "$RUN/keys"
}

# The account as the package would make it; it comes only with the first reconfigure, and its keys must be there before.
git_user() {
    if ! getent group git >/dev/null; then groupadd --system git; fi
    if ! getent passwd git >/dev/null; then
        useradd --system --gid git --home-dir /var/opt/gitlab --no-create-home --shell /bin/sh git
    fi
}
