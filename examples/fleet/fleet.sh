# shellcheck shell=bash
# What the example fleet is made of; up, assemble, down, start, stop and run read it. Each part is a process in a network namespace
# of its own, as on a machine of its own, and all of them are connected by a bridge in the operator's.

set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(dirname "$(dirname "$here")")

fleet=${FLEET_NAME:-openimds-fleet} # what its namespaces' names begin with
dir=${FLEET_DIR:-/var/lib/$fleet}   # what its parts keep: a key that opens everything, so nobody else may read it

etcds=(etcd-1 etcd-2 etcd-3)
replicas=(api-1 api-2)
hosts=(host-1 host-2)
peers=etcd-1=https://10.77.0.11:2380,etcd-2=https://10.77.0.12:2380,etcd-3=https://10.77.0.13:2380
metrics=https://10.77.0.41:9090 # takes writes of whoever can reach it, which in this fleet is nobody else
store=etcd://10.77.0.11:2379,10.77.0.12:2379,10.77.0.13:2379/openimds

exec 3>&2 # for what is said where standard error is a file
say() { echo "$*" >&3; }

fail() {
	say "fleet: $*"
	exit 1
}

# program finds one: where a variable names it, in the checkout's bin, or in PATH.
program() { # NAME [PATH]
	if [ -n "${2:-}" ]; then
		echo "$2"
	elif [ -x "$checkout/bin/$1" ]; then
		echo "$checkout/bin/$1"
	else
		command -v "$1"
	fi
}

openimds=$(program openimds "${OPENIMDS:-}") || fail "there is no openimds: make build"

address() { # of a part
	case $1 in
	operator) echo 10.77.0.1 ;;
	etcd-*) echo "10.77.0.1${1#*-}" ;;
	api-*) echo "10.77.0.2${1#*-}" ;;
	host-*) echo "10.77.0.3${1#*-}" ;;
	metrics) echo 10.77.0.41 ;;
	*) fail "there is no part $1: ${etcds[*]} ${replicas[*]} ${hosts[*]} metrics" ;;
	esac
}

# command_of puts into the array command what a part runs.
command_of() {
	local ip own=$dir/$1
	ip=$(address "$1")
	case $1 in
	etcd-*) # lets in whoever has a certificate for clients: its own kind, and the replicas
		command=("$(program etcd "${ETCD:-}")" --name "$1" --data-dir "$own/data"
			--initial-cluster "$peers"
			--listen-client-urls "https://$ip:2379" --advertise-client-urls "https://$ip:2379"
			--cert-file "$own/cert.pem" --key-file "$own/key.pem" --trusted-ca-file "$dir/ca.pem" --client-cert-auth
			--listen-peer-urls "https://$ip:2380" --initial-advertise-peer-urls "https://$ip:2380"
			--peer-cert-file "$own/cert.pem" --peer-key-file "$own/key.pem" --peer-trusted-ca-file "$dir/ca.pem" --peer-client-cert-auth)
		;;
	api-*)
		command=("$openimds" serve --data-dir "$own" --ready-file "$own/ready"
			--store "$store" --store-ca "$dir/ca.pem" --store-cert "$own/cert.pem" --store-key "$own/key.pem"
			--api-listen "$ip:1339" --api-cert "$own/cert.pem" --api-key "$own/key.pem" --api-ca "$dir/ca.pem" --api-anonymous-metrics
			--hosts-listen "$ip:1340" --hosts-address 10.77.0.21:1340 --hosts-address 10.77.0.22:1340)
		if [ -d "$dir/metrics" ]; then command+=(--metrics-write "$metrics/api/v1/write" --metrics-from "$metrics" --metrics-ca "$dir/ca.pem"); fi
		;;
	host-*)
		command=("$openimds" agent --data-dir "$own" --ready-file "$own/ready")
		if [ -e "$own/join" ]; then command+=(--join "$own/join"); fi
		if [ -d "$dir/metrics" ]; then command+=(--metrics-write "$metrics/api/v1/write" --metrics-ca "$dir/ca.pem"); fi
		;;
	metrics)
		engine=$(program prometheus "${PROMETHEUS:-}") || engine=$(program victoria-metrics) || return 1
		if [ "$(basename "$engine")" = prometheus ]; then
			command=("$engine" --config.file "$own/scrape.yml" --web.config.file "$own/web.yml" --web.listen-address "$ip:9090"
				--web.enable-remote-write-receiver --storage.tsdb.path "$own/data" --storage.tsdb.retention.time 63d)
		else
			command=("$engine" -promscrape.config "$own/scrape.yml" -httpListenAddr "$ip:9090" -storageDataPath "$own/data" -retentionPeriod 63d
				-tls -tlsCertFile "$own/cert.pem" -tlsKeyFile "$own/key.pem")
		fi
		;;
	esac
}

# begun tells when a process began that is there, in the kernel's ticks: a later one with its number began at another time.
begun() { # PID
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return
	read -ra stat <<<"${stat##*) }"
	if [ "${stat[0]}" = Z ] && ((stat[17] < 2)); then return 1; fi # ended, with all of its threads, which have its files open
	echo "${stat[19]}"
}

# runs puts the process of a part into the variable pid, if it runs.
runs() { # PART
	local since
	{ read -r pid since <"$dir/$1/pid"; } 2>/dev/null && [ -n "$since" ] && [ "$(begun "$pid")" = "$since" ]
}

# start runs a part, in a session of its own: Ctrl-C in this terminal is not meant for it. It is recorded before it is that.
start() { # PART
	if runs "$1"; then return; fi
	command_of "$1"
	rm -f "$dir/$1/ready" "$dir/$1/pid"
	(
		me=$BASHPID
		echo "$me $(begun "$me")" >"$dir/$1/pid"
		exec setsid ip netns exec "$fleet-$1" "${command[@]}" </dev/null >>"$dir/$1/log" 2>&1 3>&-
	) &
	while [ ! -s "$dir/$1/pid" ] && kill -0 $! 2>/dev/null; do sleep 0.01; done
}

# stop ends parts, all at once, and waits until they have ended.
stop() { # SIGNAL PART…
	local signal=$1 part pid i
	shift
	for part; do if runs "$part"; then kill -s "$signal" "$pid" 2>/dev/null || true; fi; done
	for part; do
		for ((i = 0; i < 200; i++)); do
			runs "$part" || continue 2
			sleep 0.1
		done
		kill -s KILL "$pid" 2>/dev/null || true # it had 20 seconds
		while runs "$part"; do sleep 0.1; done
	done
}

answers() { # PART URL: whether a part answers its own machine over TLS
	local own=$dir/$1
	ip netns exec "$fleet-$1" curl -sf -m 5 -o "$own/answer" --cacert "$dir/ca.pem" --cert "$own/cert.pem" --key "$own/key.pem" "$2" 2>/dev/null
}

ready() { # PART
	case $1 in
	etcd-*) answers "$1" "https://$(address "$1"):2379/health" && grep -q true "$dir/$1/answer" ;;
	metrics) answers "$1" "https://$(address "$1"):9090/-/healthy" ;;
	*) [ -e "$dir/$1/ready" ] ;;
	esac
}

# await waits until parts are ready, for three minutes, which is much on any machine.
await() { # PART…
	local part i last
	for part; do
		for ((i = 0; i < 1800; i++)); do
			if ! runs "$part"; then
				last=$(grep . "$dir/$part/log" | tail -n 1) || last="it said nothing"
				fail "$part ended: $last"
			fi
			if ready "$part"; then continue 2; fi
			sleep 0.1
		done
		fail "$part is not ready after three minutes; see $dir/$part/log"
	done
}

# run runs a command at a place of the fleet. The AWS CLI and openimds find the API of a replica there.
run() { # PLACE COMMAND…
	local place=$1 api=${FLEET_API:-api-1}
	shift
	PATH=$(dirname "$openimds"):$PATH AWS_ENDPOINT_URL_LIGHTSAIL=https://$(address "$api"):1339 AWS_CA_BUNDLE=$dir/ca.pem \
		AWS_SHARED_CREDENTIALS_FILE=$dir/api-1/credentials AWS_DEFAULT_REGION=us-east-1 ip netns exec "$fleet-$place" "$@"
}
