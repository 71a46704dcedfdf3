# The node's files: the pointer names a bundle by its hash, and nothing else than what hashes to it is unpacked.
stage_bundle() {
    local status words sha size have
    status=$(signed s3 "$RUN/pointer" "url = $(quoted "$(object_url "${PREFIX}nodes/$NODE.json")")")
    # Without the right to list, S3 answers 403 for what is not there.
    case "$status $(fault "$RUN/pointer")" in
        "200 "*) ;;
        "404 "* | "403 AccessDenied") hold_on "there is no bundle for $NODE yet, or it is not for this role to read" ;;
        *) refuse "the pointer to the bundle is not to be had: S3 answered $status $(fault "$RUN/pointer")" ;;
    esac
    words=$(python3 -c '
import json, re, sys
try:
    pointer = json.load(sys.stdin)
    if pointer["format"] != 1 or pointer["node"] != sys.argv[1]:
        sys.exit("it is of another format or node")
    if not re.fullmatch("[0-9a-f]{64}", pointer["bundle"]) or not 0 < int(pointer["size"]) <= 64 * 1024 * 1024:
        sys.exit("it names no bundle")
    print(pointer["bundle"], int(pointer["size"]))
except (KeyError, TypeError, ValueError) as error:
    sys.exit("it is not whole: " + repr(error))
' "$NODE" <"$RUN/pointer") || refuse "the pointer to the bundle is not one for $NODE"
    read -r sha size <<<"$words"
    have=$STATE/bundles/$sha.tar.gz
    if hashes_to "$have" "$sha"; then
        cp "$have" "$RUN/download"
    else
        status=$(signed s3 "$RUN/download" "url = $(quoted "$(object_url "${PREFIX}bundles/$sha.tar.gz")")")
        [[ $status == 200 ]] || refuse "the bundle $sha is not to be had: S3 answered $status $(fault "$RUN/download")"
    fi
    if [[ $(stat -c %s "$RUN/download") != "$size" ]]; then
        refuse "the bundle has $(stat -c %s "$RUN/download") bytes and should have $size: refused"
    fi
    hashes_to "$RUN/download" "$sha" || refuse "the bundle does not hash to $sha: refused"
    rm -rf "$RUN/bundle.new"
    unpack "$RUN/download" "$RUN/bundle.new" || refuse "the bundle $sha is refused: $(tail -n 1 "$RUN/said")"
    rm -rf "$RUN/bundle"
    mv "$RUN/bundle.new" "$RUN/bundle"
    printf '%s' "$sha" >"$RUN/bundle/sha256"
    if ! hashes_to "$have" "$sha"; then
        mkdir -p "$STATE/bundles"
        mv "$RUN/download" "$have.new"
        sync "$have.new"
        mv -f "$have.new" "$have"
        find "$STATE/bundles" -type f ! -name "$sha.tar.gz" -delete
    fi
    rm -f "$RUN/download"
    say "  bundle $sha"
}

# unpack ARCHIVE FOLDER: only if the manifest is for this node and names exactly the files that are there.
unpack() {
    (umask 077 && python3 -c '
import hashlib, json, os, posixpath, re, sys, tarfile, zlib
source, folder, node, role = sys.argv[1:]
contents = {}
try:
    with tarfile.open(source, "r:gz") as archive:
        for entry in archive:
            if not entry.isreg() or entry.name in contents:
                sys.exit(entry.name + " is no plain file, or there twice")
            contents[entry.name] = archive.extractfile(entry).read()
except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
    sys.exit("it is no archive: " + str(error))
try:
    manifest = json.loads(contents["manifest.json"])
    if manifest["format"] != 1:
        sys.exit("its format is not known to this program")
    if (manifest["node"], manifest["role"]) != (node, role):
        sys.exit("it is for " + str(manifest["node"]) + ", a node of " + str(manifest["role"]))
    wanted = {"manifest.json"}
    for file in manifest["files"]:
        path, name = file["path"], "files" + file["path"]
        plain = posixpath.normpath(path) == path and re.fullmatch("/[^/\x00-\x1f][^\x00-\x1f]*", path)
        if not plain or name in wanted:
            sys.exit("it has a file at " + repr(path))
        if not re.fullmatch("0?[0-7]{3}", file["mode"]) or not re.fullmatch("[a-z0-9_-]+:[a-z0-9_-]+", file["owner"]):
            sys.exit(path + " has a mode or owner that nothing can have")
        if hashlib.sha256(contents[name]).hexdigest() != file["sha256"]:
            sys.exit(path + " does not hash to what the manifest says")
        wanted.add(name)
    for secret in manifest["secrets"]:
        if not re.fullmatch("[a-z0-9-]+", secret["name"]) or not re.fullmatch("[A-Za-z0-9/_+=.@:-]+", secret["entry"]):
            sys.exit("it names a secret that cannot be one")
    words = {**(manifest["package"] or {}), **(manifest["volume"] or {})}.values()
    if not all(re.fullmatch("[A-Za-z0-9/:._+~-]+", word) for word in words):
        sys.exit("its package or volume holds what none can have")
    booleans = [manifest["deploy"], manifest["rds_ca"], *(secret["required"] for secret in manifest["secrets"])]
    if not all(isinstance(value, bool) for value in booleans):
        sys.exit("it says neither yes nor no where it has to")
except (AttributeError, KeyError, TypeError, ValueError) as error:
    sys.exit("its manifest is not whole: " + repr(error))
if set(contents) != wanted:
    sys.exit("it holds what its manifest does not name")
for name, content in contents.items():
    target = os.path.join(folder, name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "xb") as file:
        file.write(content)
def table(name, rows):
    with open(os.path.join(folder, "table." + name), "w") as file:
        for row in rows:
            file.write("\t".join(str(v).lower() if isinstance(v, bool) else str(v) for v in row) + "\n")
fields = {name: manifest[name] for name in ("deploy", "rds_ca")}
fields["databases"] = bool(manifest.get("database"))
for name in ("package", "volume"):
    fields.update({name + "." + key: value for key, value in (manifest[name] or {}).items()})
table("fields", fields.items())
table("files", [(f["path"], f["mode"], f["owner"]) for f in manifest["files"]])
table("secrets", [(s["name"], s["entry"], s["required"]) for s in manifest["secrets"]])
' "$1" "$2" "$NODE" "$ROLE") 2>"$RUN/said"
}
