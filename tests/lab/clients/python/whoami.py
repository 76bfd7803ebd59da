"""Asks STS who it is with boto3; see ../README.md."""

import sys
import time

import boto3

url, seconds, profile = sys.argv[1:]
clients = [
    boto3.client("sts", endpoint_url=url),
    boto3.Session(profile_name=profile).client("sts", endpoint_url=url),
]
end = time.monotonic() + float(seconds)
rounds = 0
while time.monotonic() < end:
    for client in clients:
        client.get_caller_identity()
    rounds += 1
    time.sleep(1)
print("boto3: rounds", rounds)
