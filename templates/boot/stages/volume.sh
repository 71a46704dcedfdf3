# The data volume: found by its id, formatted only when it is empty by three witnesses, mounted by its UUID.
stage_volume() {
    local id mount wanted device type uuid line there
    id=$(field volume.id)
    [[ -n $id ]] || return 0
    mount=$(field volume.mount)
    wanted=$(field volume.filesystem)
    device=$(device_of "$id") || refuse "the volume $id is not attached, or not to be seen: nothing else is done"
    echo "$id is $device"
    type=$(kind_of "$device")
    if [[ $type == nothing ]]; then
        really_empty "$device" || refuse "$device ($id) has no file system that is known, and is not empty: not touched"
        say "  formatting $device ($id) with ${wanted:-ext4}"
        case ${wanted:-ext4} in
            ext4) mkfs.ext4 -q -L gitlab-data "$device" </dev/null ;;
            xfs) mkfs.xfs -q -L gitlab-data "$device" </dev/null ;;
            *) refuse "$wanted is no file system for a data volume" ;;
        esac
        type=$(kind_of "$device")
    fi
    case $type in
        ext4 | xfs) ;;
        *) refuse "$device ($id) holds $type, which is no file system of ours: not touched" ;;
    esac
    uuid=$(blkid -p -s UUID -o value "$device")
    # GitLab does not start without its data, and the node does.
    line="UUID=$uuid $mount $type defaults,noatime,nofail,x-systemd.device-timeout=90s,x-systemd.before=gitlab-runsvdir.service,x-systemd.required-by=gitlab-runsvdir.service 0 2"
    touch -a "$ROOT/etc/fstab"
    awk -v mount="$mount" '$1 ~ /^#/ || $2 != mount' "$ROOT/etc/fstab" >"$RUN/fstab"
    printf '%s\n' "$line" >>"$RUN/fstab"
    if ! grep -Fqx "$line" "$ROOT/etc/fstab"; then
        place "$RUN/fstab" "$ROOT/etc/fstab" 0644 root:root
        systemctl daemon-reload
    fi
    there=$(findmnt -nro SOURCE --mountpoint "$ROOT$mount" || true)
    if [[ -z $there ]]; then
        mkdir -p "$ROOT$mount"
        if [[ -n $(find "$ROOT$mount" -mindepth 1 -maxdepth 1 -print -quit) ]]; then
            refuse "$mount has files in it that the volume would hide: not mounted"
        fi
        mount ${ROOT:+--fstab "$ROOT/etc/fstab" --target-prefix "$ROOT"} --target "$mount"
        there=$(findmnt -nro SOURCE --mountpoint "$ROOT$mount" || true)
    fi
    [[ $(readlink -f "$there") == "$(readlink -f "$device")" ]] || refuse "$there is mounted on $mount, and not $device ($id)"
}

# device_of VOLUME: EBS shows a volume's id, without its hyphen, as the serial number of an NVMe device.
device_of() {
    local serial=${1//-/} folder=${GANTRY_BY_ID:-$ROOT/dev/disk/by-id} try device
    for ((try = 1; try <= ${GANTRY_TRIES:-60}; try++)); do
        device=$folder/nvme-Amazon_Elastic_Block_Store_$serial
        if [[ ! -b $device ]]; then
            device=$(lsblk --nodeps --noheadings --output PATH,SERIAL | awk -v serial="$serial" '$2 == serial { print $1 }')
        fi
        if [[ -n $device && -b $device ]]; then
            readlink -f "$device"
            return 0
        fi
        ((try == 1)) && say "  waiting for the volume $1"
        pause 5
    done
    return 1
}

# kind_of DEVICE: the file system on it; `nothing`, or what else blkid sees.
kind_of() {
    local found code=0
    found=$(blkid -p -o export "$1") || code=$?
    case $code in
        0)
            if grep -q '^USAGE=filesystem$' <<<"$found"; then
                sed -n 's/^TYPE=//p' <<<"$found"
            else
                printf 'something else (%s)' "$(sed -n -e 's/^TYPE=//p' -e 's/^PTTYPE=//p' <<<"$found" | head -n 1)"
            fi
            ;;
        2) printf 'nothing' ;;
        *) printf 'something that blkid cannot tell (%s)' "$code" ;;
    esac
}

# really_empty DEVICE: blkid saw nothing; wipefs must not either, and the first MiB must be zeros.
really_empty() {
    local signs
    signs=$(wipefs --noheadings "$1") || return 1
    [[ -z $signs ]] || return 1
    python3 -c '
import sys
with open(sys.argv[1], "rb") as device:
    head = device.read(1024 * 1024)
sys.exit(0 if len(head) == 1024 * 1024 and head.count(0) == len(head) else 1)
' "$1"
}
