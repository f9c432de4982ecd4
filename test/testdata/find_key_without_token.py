"""Prints the id of the access key that botocore finds when it knows no tokens, as before 2019."""

import sys

from botocore.utils import InstanceMetadataFetcher


class Fetcher(InstanceMetadataFetcher):
    def _fetch_metadata_token(self):
        return None


print(Fetcher(base_url=sys.argv[1]).retrieve_iam_role_credentials()["access_key"])
