# judged.sh DIR CLIENT INSTANT NPM: callers of all kinds on one host at once, in network and mount namespaces that are this
# script's own (unshare --mount --net). It serves two instances, looks on by 'openimds trace', and then obeys its standard
# input: "guests" has each guest call, "look" has who called told in DIR/callers.json, "end" ends it.
set -e
dir=$1 client=$2 instant=$3 npm=$4
cd $dir
id=c0ffee$(printf '%058d' $$)
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/system.slice
container=$cgroups/docker-$id.scope unit=$cgroups/judged$$.service
exec 3>&1 >$dir/out 2>&1

mount -t tmpfs judged /run
mkdir /run/netns
ip link set lo up
pids=
quit() {
	set +e
	for pid in $pids; do kill $pid 2>/dev/null; wait $pid 2>/dev/null; done
	rmdir $container $unit $cgroups 2>/dev/null
	return 0
}
trap quit EXIT

for n in box router inner; do ip netns add $n; ip -n $n link set lo up; done
cable() { # LINK ADDRESS NAMESPACE LINK ADDRESS NAMESPACE; "-": this one
	if [ $3 = - ]; then ip link add $1 type veth peer name $4 netns $6; else ip -n $3 link add $1 type veth peer name $4 netns $6; fi
	if [ $3 = - ]; then ip addr add $2 dev $1; ip link set $1 up; else ip -n $3 addr add $2 dev $1; ip -n $3 link set $1 up; fi
	ip -n $6 addr add $5 dev $4; ip -n $6 link set $4 up
}
cable tap0 10.77.1.1/24 - eth0 10.77.1.2/24 router
cable in0 10.77.2.1/24 router eth0 10.77.2.2/24 inner
ip -n router route add default via 10.77.1.1
ip -n inner route add default via 10.77.2.1
ip route add 10.77.2.0/24 via 10.77.1.2
ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
mkdir -p $container $unit && echo 0 >$container/cgroup.procs 2>/dev/null && echo 0 >$cgroups/../cgroup.procs && echo cgroups >&3 || true

openimds serve --data-dir $dir/data --imds-listen 127.0.0.1:0 --api-listen 127.0.0.1:0 --log-level debug --ready-file $dir/served &
pids="$!"
# It looks at all connections, however many the rest of this machine makes.
openimds trace -o json --max-cpu 0 --ready-file $dir/looks >$dir/trace.json &
pids="$! $pids"
while ! [ -e served ] || ! [ -e looks ]; do sleep 0.05; done
api=$(sed -n 's/^api=//p' served)
told() { openimds "$@" --endpoint http://$api --data-dir $dir/data; }
told instance create web-1 web-2 --hop-limit 1
told attach web-1 --netns box
told attach web-2 --interface tap0

cp $(command -v curl) $dir/curl # others of this machine call too
cp $(command -v wget) $dir/wget || true
cp $CRAWL $dir/crawl.py
cat >boto.py <<'END'
import botocore.session
assert botocore.session.Session(profile=None).get_credentials().get_frozen_credentials().access_key
END
cat >proxy.py <<'END'
import http.server, sys, urllib.error, urllib.request
class Proxy(http.server.BaseHTTPRequestHandler):
    def go(self):
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "proxy-connection", "content-length")}
        asked = urllib.request.Request(self.path, method=self.command, headers=dict(headers, **{"X-Forwarded-For": self.client_address[0]}))
        try:
            answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked)
        except urllib.error.HTTPError as refused:
            answer = refused
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_PUT = go
server = http.server.ThreadingHTTPServer(("127.0.0.1", 3128), Proxy)
open(sys.argv[1], "w").close()
server.serve_forever()
END
at=http://169.254.169.254/latest
ttl='X-aws-ec2-metadata-token-ttl-seconds: 60'
box() { ip netns exec box "$@"; }
inner() { ip netns exec inner "$@"; }
optional() { command -v $1 >/dev/null; }
within() { # CGROUP COMMAND…
	[ -e $1/cgroup.procs ] || return 0
	sh -c 'echo 0 >$0/cgroup.procs; exec "$@"' "$@"
}
guests() {
	box $dir/curl -sf $at/meta-data/instance-id
	box $dir/curl -sf -X PUT -H "$ttl" $at/api/token -o $dir/token
	box $dir/curl -sf -H "X-aws-ec2-metadata-token: $(cat token)" $at/meta-data/ami-launch-index
	[ ! -e $dir/wget ] || box $dir/wget -q -O - $at/meta-data/instance-type
	box env OPENIMDS_TEST_SDK=minio $client minio-go $dir
	if optional node && [ -e $npm/node_modules/aws-sdk-2015 ]; then box node $npm/old_sdk.js $dir; fi
	if [ -n "$BOTO" ]; then box $BOTO $dir/boto.py; inner $BOTO $dir/boto.py; fi
	if [ -n "$CLOUD_INIT" ]; then box $CLOUD_INIT -B $dir/crawl.py http://169.254.169.254; fi
	for i in 1 2 3; do box $instant plain; done
	within $container ip netns exec box $dir/curl -sf $at/meta-data/hostname
	within $container ip netns exec box $instant contained
	box $dir/curl -s -x http://127.0.0.1:3128 -X PUT -H "$ttl" $at/api/token
	box $dir/curl -sf -x http://127.0.0.1:3128 $at/meta-data/local-hostname
	inner $dir/curl -s -m 3 -X PUT -H "$ttl" $at/api/token || true
	inner $dir/curl -sf $at/meta-data/mac
}
for n in box inner; do until ip netns exec $n curl -sf $at/dynamic/; do sleep 0.1; done; done
(exec ip netns exec box python3 proxy.py $dir/proxied) & # exec: what is ended is the program, and no shell that waits for it
pids="$! $pids"
if [ -e $unit/cgroup.procs ]; then
	(echo 0 >$unit/cgroup.procs; exec ip netns exec box sh -c "while :; do $dir/curl -s $at/meta-data/placement/region; sleep 5; done") &
	pids="$! $pids"
fi
while ! [ -e proxied ]; do sleep 0.05; done
echo ready >&3
while read word; do
	case $word in
	guests) guests ;;
	look) told callers --all -o json >$dir/callers.new 2>$dir/notes; mv callers.new callers.json ;;
	end) break ;;
	esac
	echo done >&3
done
