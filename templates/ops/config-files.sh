# Writes what this node is configured by as one archive to standard output: gitlab.rb, certificates, SSH host keys.
set -eu
top=$1
cd -- "$top"
set --
for name in etc/gitlab/gitlab.rb etc/gitlab/ssl etc/gitlab/trusted-certs etc/ssh/ssh_host_*; do
    [ -e "$name" ] && set -- "$@" "$name"
done
if [ "$#" -eq 0 ]; then
    echo "there is no configuration on this node" >&2
    exit 1
fi
exec tar --create --file=- --sort=name --numeric-owner -- "$@"
