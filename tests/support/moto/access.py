"""Makes a user that runs gantry: `access.py URL REGION NAME POLICY...` prints the access key as JSON.

A policy is a JSON document; a user takes ten managed policies of 6144 characters each, so a large set of
rights comes in several.
"""

import json
import sys

import boto3


def main(url, region, user, *policies):
    iam = boto3.client("iam", endpoint_url=url, region_name=region, aws_access_key_id="test", aws_secret_access_key="test")
    iam.create_user(UserName=user)
    for n, policy in enumerate(policies):
        arn = iam.create_policy(PolicyName=f"{user}-{n}", PolicyDocument=policy)["Policy"]["Arn"]
        iam.attach_user_policy(UserName=user, PolicyArn=arn)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    print(json.dumps({"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
