# What became of this boot: an object in the bucket for those who wait, a tag for those who look. Also after a failure.
report() {
    local outcome=$1 stage=$2 detail=$3 bundle='' name version='' body=$STATE/report.json status tag
    fresh_credentials || return 1
    [[ ! -f $RUN/bundle/sha256 ]] || bundle=$(<"$RUN/bundle/sha256")
    if [[ -n $bundle ]]; then
        name=$(field package.name)
        [[ -z $name ]] || version=$(package_state "$name")
    fi
    printf '%s' "$detail" | python3 -c '
import glob, json, sys
names = ["node", "role", "instance", "address", "bundle", "version", "outcome", "stage", "at"]
report = {"format": 1, **dict(zip(names, sys.argv[2:])), "detail": sys.stdin.read()[:8000], "host_keys": []}
for path in sorted(glob.glob(sys.argv[1])):
    with open(path, encoding="utf-8") as file:
        report["host_keys"] += [" ".join(file.read().split()[:2])]
json.dump(report, sys.stdout)
' "$ROOT/etc/ssh/ssh_host_*_key.pub" "$NODE" "$ROLE" "$INSTANCE" "$ADDRESS" "$bundle" "${version##* }" \
        "$outcome" "$stage" "$(date --utc +%Y-%m-%dT%H:%M:%SZ)" >"$body" || return 1

    status=$(signed s3 "$RUN/answer" "url = $(quoted "$(object_url "${PREFIX}reports/$CALLED.json")")
request = \"PUT\"
header = \"Content-Type: application/json\"" "$body")
    if [[ $status != 200 ]]; then
        complain "S3 did not take the report: $status $(fault "$RUN/answer")"
        return 1
    fi

    case $outcome in
        ready) tag="ready ${bundle:0:12}" ;;
        *) tag="$outcome $stage" ;;
    esac
    printf '%s' "Action=CreateTags&Version=2016-11-15&ResourceId.1=$INSTANCE&Tag.1.Key=gantry%3Aboot&Tag.1.Value=${tag// /%20}" >"$RUN/body"
    status=$(signed ec2 "$RUN/answer" "url = $(quoted "${GANTRY_EC2:-https://ec2.$REGION.amazonaws.com}/")
header = \"Content-Type: application/x-www-form-urlencoded; charset=utf-8\"" "$RUN/body")
    if [[ $status != 200 ]]; then
        complain "EC2 did not take the tag: $status $(fault "$RUN/answer")"
        return 1
    fi
    rm -f "$RUN/answer" "$RUN/body"
}
