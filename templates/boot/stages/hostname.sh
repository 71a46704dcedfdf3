# Fixed nodes are called by their name; the many of the Rails group by their instance.
stage_hostname() {
    local there=''
    [[ ! -f $ROOT/etc/hostname ]] || there=$(<"$ROOT/etc/hostname")
    [[ $there == "$CALLED" ]] || hostnamectl set-hostname "$CALLED"
}
