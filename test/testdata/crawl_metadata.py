"""Crawls the metadata service at the address given as cloud-init does on EC2, and prints what it found.

cloud-init decides by the machine's DMI tables whether it runs on AWS; here it is told so.
"""

import json
import sys
import tempfile

from cloudinit import distros, helpers
from cloudinit.sources import DataSourceEc2

with tempfile.TemporaryDirectory() as directory:
    paths = helpers.Paths({"cloud_dir": directory, "run_dir": directory})
    distro = distros.fetch("debian")("debian", {}, paths)
    settings = {"datasource": {"Ec2": {"metadata_urls": [sys.argv[1]], "max_wait": 30, "timeout": 10}}}
    source = DataSourceEc2.DataSourceEc2(settings, distro, paths)
    source._cloud_name = DataSourceEc2.CloudNames.AWS
    if not source._get_data():
        sys.exit("cloud-init found no metadata")
    hostname = source.get_hostname(fqdn=True)
    network = DataSourceEc2.convert_ec2_metadata_network_config(
        source.metadata["network"],
        fallback_nic="eth0",
        macs_to_nics={mac: "eth0" for mac in source.metadata["network"]["interfaces"]["macs"]},
    )
    print(
        json.dumps(
            {
                "version": source._crawled_metadata["_metadata_api_version"],
                "metadata": source.metadata,
                "userdata": source.get_userdata_raw(),
                "instance": source.get_instance_id(),
                "keys": source.get_public_ssh_keys(),
                "hostname": getattr(hostname, "hostname", hostname),  # newer releases wrap it
                "zone": source.availability_zone,
                "region": source.region,
                "network": network,
            },
            default=lambda value: value.decode("latin-1"),
        )
    )
