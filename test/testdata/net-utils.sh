# Asks what Debian's amazon-ec2-net-utils ask of the metadata service when they set an interface up, with
# their own functions; the first argument is their library.
. "$1"
log() { :; } # there is no system log here
mac=$(get_imds mac 1)
echo "asked-mac $mac"
echo "addresses $(get_iface_imds "$mac" local-ipv4s 1 | head -n 1) $(get_imds local-ipv4 1)"
for key in device-number subnet-ipv4-cidr-block ipv6s ipv4-prefix ipv6-prefix network-card; do
	if value=$(get_iface_imds "$mac" $key 1); then echo "$key $value"; else echo "$key absent"; fi
done
echo "endpoint $imds_endpoint"
