#!/bin/sh
# Runs Debian's cloud-init as it runs at the boot of an EC2 instance, against the real address, and prints
# what it made of it. The host and its guest are network namespaces; the guest's files are a copy of this
# machine's that is thrown away. Its first argument is a directory for it; the others are the script that asks as
# amazon-ec2-net-utils do, and their library, for the same guest if there is one.
# Called in mount and network namespaces of its own.
set -e
work=$1
export OPENIMDS_DATA_DIR=$work/data
mount --make-rprivate /
mkdir "$work/fs"
mount -t tmpfs tmpfs "$work/fs" # what is written must not be on an overlay itself
mkdir "$work/fs/up" "$work/fs/wd" "$work/fs/root" "$work/fs/sysfs"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/fs/up,workdir=$work/fs/wd" "$work/fs/root"
root=$work/fs/root

# The host: a guest behind a veth, as a VM behind a tap.
ip link set lo up
unshare -n sleep 600 &
guest=$!
trap 'kill $guest $server 2>/dev/null || :' EXIT
while [ "$(readlink /proc/$guest/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add tap0 type veth peer name eth0
ip link set eth0 netns $guest
ip addr add 172.26.0.1/20 dev tap0
ip link set tap0 up
inside() { nsenter --net=/proc/$guest/ns/net "$@"; }
inside ip link set lo up
inside ip addr add 172.26.0.9/20 dev eth0
inside ip addr add 172.26.0.10/20 dev eth0 # a second one of its interface
inside ip link set eth0 up
inside ip route add default via 172.26.0.1

openimds serve --imds-listen 127.0.0.1:0 --api-listen 127.0.0.1:0 --ready-file "$work/ready" >"$work/server.log" 2>&1 &
server=$!
for i in $(seq 3600); do [ -e "$work/ready" ] && break; sleep 0.05; done
api=http://$(sed -n 's/^api=//p' "$work/ready")
printf '#cloud-config\nwrite_files:\n- path: /root/made-by-user-data\n  content: done\n' >"$work/user-data"
{
	openimds instance create web-1 --endpoint "$api"
	openimds attach web-1 --interface tap0 --endpoint "$api"
	openimds instance set web-1 --user-data "$work/user-data" --endpoint "$api"
	openimds options web-1 --yes --http-tokens required --hop-limit 1 --endpoint "$api"
} >"$work/commands.log" 2>&1

# The guest: a system that says that EC2 is below it, and nothing of an earlier cloud.
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
rm -rf "$root/var/lib/cloud"
inside mount -t sysfs sysfs "$work/fs/sysfs"
mount -t tmpfs tmpfs "$root/sys"
mkdir -p "$root/sys/hypervisor" "$root/sys/class" "$root/sys/devices"
mount --bind "$work/fs/sysfs/class" "$root/sys/class"
mount --bind "$work/fs/sysfs/devices" "$root/sys/devices"
echo ec2e1916-9099-7caf-fd21-012345abcdef >"$root/sys/hypervisor/uuid"
mkdir -p "$root/etc/cloud/cloud.cfg.d"
cat >"$root/etc/cloud/cloud.cfg.d/99-test.cfg" <<'END'
datasource_list: [ Ec2 ]
datasource: { Ec2: { strict_id: true, max_wait: 60, timeout: 20 } }
network: { config: disabled }
users: [ default ]
disable_root: false
cloud_init_modules: [ write-files, set_hostname, users-groups, ssh ]
ssh_deletekeys: false
ssh_genkeytypes: []
END
rm -f "$root/root/.ssh/authorized_keys" "$root/etc/resolv.conf"
echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf" # where nobody is: names that must not exist are asked for
inside unshare --uts chroot "$root" sh -c '
	cloud-init init >/run/init.log 2>&1 || { cat /run/init.log /var/log/cloud-init.log; exit 1; }
	echo "datasource $(cloud-id)"
	echo "instance $(cat /var/lib/cloud/data/instance-id)"
	echo "hostname $(hostname)"
	echo "user data $(cat /root/made-by-user-data)"
	echo "key $(cut -d" " -f2 /root/.ssh/authorized_keys | tail -n 1)"
	/usr/bin/python3 -c "
import json
from cloudinit.sources import pkl_load
print(\"network\", json.dumps(pkl_load(\"/var/lib/cloud/instance/obj.pkl\").network_config, sort_keys=True))"
'
openimds callers web-1 --endpoint "$api" --v1 -o json >"$work/v1"
echo "without token $(grep -c '"instanceName"' "$work/v1")"
token=$(inside curl -sX PUT http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
ask() { inside curl -sH "X-aws-ec2-metadata-token: $token" "http://169.254.169.254/latest/meta-data/$1"; }
echo "link $(inside cat "$work/fs/sysfs/class/net/eth0/address")"
echo "served instance $(ask instance-id)"
echo "served key $(ask public-keys/0/openssh-key | cut -d" " -f2)"
if [ -e "$3" ]; then inside bash "$2" "$3"; fi
