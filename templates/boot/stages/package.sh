# GitLab's package: exactly the version that the manifest names, held. Another version is never replaced here:
# upgrades have an order among the nodes, and a verb of their own.
stage_package() {
    local name version there other
    name=$(field package.name)
    [[ -n $name ]] || return 0
    version=$(field package.version)
    for other in gitlab-ee gitlab-ce; do
        there=$(package_state "$other")
        if [[ $other != "$name" && $there == installed* ]]; then
            refuse "$other is installed, and the bundle wants $name: another edition is a migration, not a boot"
        fi
    done
    there=$(package_state "$name")
    case $there in
        "installed $version") ;;
        "not-installed"* | "config-files"* | "") install_package "$name" "$version" ;;
        *" $version")
            # dpkg was interrupted.
            dpkg --configure -a 3>&-
            install_package "$name" "$version"
            ;;
        *) refuse "$name ${there##* } is there, and the bundle wants $version: upgrades are done by gantry upgrade" ;;
    esac
    if ! apt-mark showhold "$name" | grep -Fqx "$name"; then apt-mark hold "$name"; fi
}

# package_state NAME: `installed 19.5.3-ee.0`; nothing for what dpkg does not know.
package_state() { dpkg-query --show --showformat='${db:Status-Status} ${Version}' "$1" 2>/dev/null || true; }

install_package() {
    local there
    repository "$1"
    say "  installing $1 $2"
    export DEBIAN_FRONTEND=noninteractive
    apt-get --quiet --option DPkg::Lock::Timeout=600 --option Acquire::Retries=3 update 3>&-
    # With this in the environment, the package would configure itself by its own mind.
    unset EXTERNAL_URL
    apt-get --quiet --yes --option DPkg::Lock::Timeout=600 --option Acquire::Retries=3 \
        --option Dpkg::Options::=--force-confold install "$1=$2" 3>&-
    there=$(package_state "$1")
    [[ $there == "installed $2" ]] || refuse "$1 should be installed in version $2, and dpkg says: ${there:-nothing}"
}

# The key that signs the repository's metadata (omnibus-gitlab, doc/update/package_signatures.md), for mirrors too:
# a mirror is a copy of packages.gitlab.com, signatures and all.
readonly KEY_FINGERPRINT=F6403F6544A38863DAA0B6E03F01618A51312F3F

repository() {
    local source base status system
    source=$(field package.source)
    base=${GANTRY_PACKAGES:-https://packages.gitlab.com}
    [[ $source == official ]] || base=$source
    status=$(ask "$RUN/key" "url = $(quoted "$base/gpgkey/gpg.key")
connect-timeout = 10
max-time = 120")
    [[ $status == 200 ]] || refuse "the key of the package repository is not to be had: $base answered $status"
    only_key "${GANTRY_KEY_FINGERPRINT:-$KEY_FINGERPRINT}" <"$RUN/key" ||
        refuse "the key at $base/gpgkey/gpg.key is not the one that signs GitLab's packages"
    place "$RUN/key" "$ROOT/etc/apt/keyrings/gitlab-keyring.asc" 0644 root:root
    # shellcheck disable=SC1091
    system=$(. "$ROOT/etc/os-release" && printf '%s/%s %s' "$ID" "$VERSION_CODENAME" "$VERSION_CODENAME")
    settle "$ROOT/etc/apt/sources.list.d/gitlab_$1.list" \
        "deb [signed-by=/etc/apt/keyrings/gitlab-keyring.asc] $base/gitlab/$1/$system main"
}

# only_key FINGERPRINT: whether the armoured keyring on stdin holds this primary key and no other (RFC 9580,
# 4.2 packet headers, 5.5.4 fingerprints of version 4 keys).
only_key() {
    python3 -c '
import base64, binascii, hashlib, sys
text = sys.stdin.read()
if text.count("-----BEGIN PGP PUBLIC KEY BLOCK-----") != 1:
    sys.exit("not one block of keys")
lines = text.split("-----BEGIN PGP PUBLIC KEY BLOCK-----")[1].split("-----END")[0].strip("\r\n").splitlines()
blank = next((at for at, line in enumerate(lines) if not line.strip()), -1)
body = [line.strip() for line in lines[blank + 1:] if not line.startswith("=") and ":" not in line]
try:
    data = base64.b64decode("".join(body), validate=True)
    found, at = [], 0
    while at < len(data):
        head = data[at]
        if head & 0x40:
            tag, first = head & 0x3F, data[at + 1]
            if first < 192:
                size, start = first, at + 2
            elif first < 224:
                size, start = ((first - 192) << 8) + data[at + 2] + 192, at + 3
            elif first == 255:
                size, start = int.from_bytes(data[at + 2:at + 6], "big"), at + 6
            else:
                sys.exit("a packet in parts")
        else:
            tag, form = (head >> 2) & 0x0F, head & 3
            if form == 3:
                sys.exit("a packet without a length")
            size, start = int.from_bytes(data[at + 1:at + 1 + (1 << form)], "big"), at + 1 + (1 << form)
        packet = data[start:start + size]
        if not head & 0x80 or len(packet) != size:
            sys.exit("a packet cut short")
        if tag == 6:
            if packet[0] != 4:
                sys.exit("a key of another version")
            found.append(hashlib.sha1(b"\x99" + size.to_bytes(2, "big") + packet).hexdigest().upper())
        at = start + size
except (IndexError, OverflowError, binascii.Error) as error:
    sys.exit("no keyring: " + repr(error))
print("found:", *found)
sys.exit(0 if found == [sys.argv[1]] else "not the one key that is expected")
' "$1"
}
