#!/bin/sh
# Runs the programs of the package ec2-instance-connect in a guest, as sshd would, and prints what they let in. Its
# arguments are a directory for what it writes, and where the programs are.
# Called in mount and network namespaces of its own.
set -e
work=$1
programs=$2
export OPENIMDS_DATA_DIR=$work/data
mount --make-rprivate /
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
inside ip link set eth0 up
inside ip route add default via 172.26.0.1

openimds serve --imds-listen 127.0.0.1:0 --api-listen 127.0.0.1:0 --ready-file "$work/ready" >"$work/server.log" 2>&1 &
server=$!
for i in $(seq 3600); do [ -e "$work/ready" ] && break; sleep 0.05; done
api=http://$(sed -n 's/^api=//p' "$work/ready")
{
	openimds instance create web-1 --endpoint "$api"
	openimds attach web-1 --interface tap0 --endpoint "$api"
	openimds options web-1 --http-tokens required --hop-limit 1 --yes --endpoint "$api"
} >"$work/commands.log" 2>&1
ssh-keygen -q -t ed25519 -N '' -C '' -f "$work/one"
ssh-keygen -q -t rsa -b 2048 -N '' -C '' -f "$work/two"
fingerprint() { ssh-keygen -lf "$1" | cut -d' ' -f2; }
cat >"$work/sshd" <<'END'
# What sshd runs, in a system that says that EC2 is below it, with the authorities of $3.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /sys
mkdir /sys/hypervisor
echo ec2e1916-9099-7caf-fd21-012345abcdef >/sys/hypervisor/uuid
mount --bind "$3" /etc/ssl/certs
exec "$1/eic_curl_authorized_keys" root $2
END
mkdir "$work/certs" "$work/none"
# The programs give up where a read takes more than a second, which a busy machine may take, and a key is there for a
# minute: the keys are pushed before each try, unless there are as many as there may be, until as many are let in as are
# wanted.
asked() { # WORD WANTED FINGERPRINT CERTIFICATES TRIES KEY...
	word=$1 wanted=$2 print=$3 certificates=$4 tries=$5
	shift 5
	for i in $(seq "$tries"); do
		for key; do
			openimds ssh-key push web-1 --user root --key "$key" --endpoint "$api" >>"$work/commands.log" 2>&1 || :
		done
		got=$(inside unshare --mount sh "$work/sshd" "$programs" "$print" "$certificates" 2>>"$work/sshd.log" | cut -d' ' -f1,2 | awk '!there[$0]++')
		[ "$(echo "$got" | grep -c .)" -lt "$wanted" ] || break
	done
	echo "$word $(echo "$got" | tr '\n' ' ')"
}
one=$work/one.pub two=$work/two.pub known=$work/certs
asked before 1 "" "$known" 2
openimds ssh-key push web-1 --user root --key "$one" --endpoint "$api" >>"$work/commands.log" 2>&1 # which makes the signer
openimds ssh-key signer >"$known/openimds_EC2_Instance_Connect_CA.pem"
asked one 1 "" "$known" 1000 "$one"
asked both 2 "" "$known" 1000 "$one" "$two"
asked second 1 "$(fingerprint "$two")" "$known" 1000 "$one" "$two"
asked foreign 1 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU "$known" 2 "$one" "$two"
asked unknown-authority 1 "" "$work/none" 2 "$one" "$two"
echo "want-one $(cut -d' ' -f1,2 "$work/one.pub")"
echo "want-two $(cut -d' ' -f1,2 "$work/two.pub")"
