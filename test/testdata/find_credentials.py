"""Finds credentials and region as boto3 does on an instance, and prints them as JSON."""

import json

import boto3
import botocore.session
from botocore.utils import IMDSRegionProvider, InstanceMetadataFetcher

session = botocore.session.get_session()
config = {
    name: session.get_config_variable(name)
    for name in ("ec2_metadata_service_endpoint", "ec2_metadata_v1_disabled")
}
role = InstanceMetadataFetcher(config=config).retrieve_iam_role_credentials()

found = boto3.Session().get_credentials()
keys = found.get_frozen_credentials()
print(
    json.dumps(
        {
            "role": role["role_name"],
            "fetched": {
                "AccessKeyId": role["access_key"],
                "SecretAccessKey": role["secret_key"],
                "Token": role["token"],
                "Expiration": role["expiry_time"],
            },
            "method": found.method,
            "found": {
                "AccessKeyId": keys.access_key,
                "SecretAccessKey": keys.secret_key,
                "Token": keys.token,
                "Expiration": role["expiry_time"],
            },
            "region": IMDSRegionProvider(session).provide(),
        }
    )
)
