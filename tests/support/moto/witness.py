"""Tells as JSON what a client that gantry did not write sees of a site: `witness.py URL REGION SITE`.

Things are found by the site's tag and named by their address (`ec2/security_group:rails`), so that a test can
speak of them. Ids of groups in rules are turned into those names as well.
"""

import base64
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


class Witness:
    def __init__(self, url, region, site):
        self.site = site
        session = boto3.Session("test", "test", region_name=region)
        config = Config(s3={"addressing_style": "path"})
        self.client = lambda service: session.client(service, endpoint_url=url, config=config)
        self.ec2, self.elb, self.rds = self.client("ec2"), self.client("elbv2"), self.client("rds")
        self.filter = [{"Name": "tag:gantry:site", "Values": [site]}]
        tagging = self.client("resourcegroupstaggingapi").get_paginator("get_resources")
        pages = tagging.paginate(TagFilters=[{"Key": "gantry:site", "Values": [site]}], ResourcesPerPage=100)
        gone = self.gone()
        self.tags = {m["ResourceARN"]: tags_of(m["Tags"]) for p in pages for m in p["ResourceTagMappingList"] if not m["ResourceARN"].endswith(gone)}

    def pages(self, client, action, key, **parameters):
        return [item for page in client.get_paginator(action).paginate(**parameters) for item in page[key]]

    def gone(self):
        """Ends of the ARNs of what the tagging API goes on to show for a while: as AWS does, moto keeps terminated
        nodes and deleted gateways. The automatic snapshots of databases copy their tags and are counted with nobody."""
        nodes = self.pages(self.ec2, "describe_instances", "Reservations", Filters=[{"Name": "instance-state-name", "Values": ["terminated"]}])
        gateways = self.pages(self.ec2, "describe_nat_gateways", "NatGateways", Filters=[{"Name": "state", "Values": ["deleted"]}])
        snapshots = self.pages(self.rds, "describe_db_snapshots", "DBSnapshots", SnapshotType="automated")
        ends = [i["InstanceId"] for r in nodes for i in r["Instances"]] + [g["NatGatewayId"] for g in gateways]
        return tuple(ends + [s["DBSnapshotArn"] for s in snapshots])

    def mine(self, items, arn):
        """The items of the site among those whose listing shows no tags, by the name in their address."""
        return {name(self.tags[i[arn]]): i for i in items if i[arn] in self.tags}

    # --- network ----------------------------------------------------------------------------------

    def groups(self):
        listed = self.pages(self.ec2, "describe_security_groups", "SecurityGroups", Filters=self.filter)
        names = {g["GroupId"]: name(tags_of(g["Tags"])) for g in listed}
        self.group_names = names

        def rules(permissions):
            found = []
            for p in permissions:
                ports = "all" if p["IpProtocol"] == "-1" else f"{p['IpProtocol']} {p['FromPort']}-{p['ToPort']}"
                found += [{"peer": r["CidrIp"], "ports": ports, "why": r.get("Description")} for r in p.get("IpRanges", [])]
                found += [{"peer": r["CidrIpv6"], "ports": ports, "why": r.get("Description")} for r in p.get("Ipv6Ranges", [])]
                found += [{"peer": names.get(g["GroupId"], g["GroupId"]), "ports": ports, "why": g.get("Description")} for g in p.get("UserIdGroupPairs", [])]
            return sorted(found, key=lambda r: (r["ports"], r["peer"]))

        return {names[g["GroupId"]]: {"in": rules(g["IpPermissions"]), "out": rules(g["IpPermissionsEgress"])} for g in listed}

    def subnets(self):
        listed = self.pages(self.ec2, "describe_subnets", "Subnets", Filters=self.filter)
        return {name(tags_of(s["Tags"])): {"zone": s["AvailabilityZone"], "cidr": s["CidrBlock"], "maps_public": s["MapPublicIpOnLaunch"]} for s in listed}

    # --- nodes ------------------------------------------------------------------------------------

    def instances(self):
        reservations = self.pages(self.ec2, "describe_instances", "Reservations", Filters=self.filter)
        volumes = {v["VolumeId"]: v for v in self.pages(self.ec2, "describe_volumes", "Volumes")}
        found = []
        for i in (i for r in reservations for i in r["Instances"]):
            if i["State"]["Name"] == "terminated":
                continue
            attribute = lambda a: self.ec2.describe_instance_attribute(InstanceId=i["InstanceId"], Attribute=a)
            data = attribute("userData")["UserData"].get("Value", "")
            found.append(
                {
                    "address": tags_of(i["Tags"]).get("gantry:address"),
                    "tags": tags_of(i["Tags"]),
                    "type": i["InstanceType"],
                    "zone": i["Placement"]["AvailabilityZone"],
                    "public_address": i.get("PublicIpAddress"),
                    "profile": i.get("IamInstanceProfile", {}).get("Arn"),
                    "metadata": {k: i["MetadataOptions"].get(k) for k in ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint")},
                    "groups": sorted(self.group_names.get(g["GroupId"], g["GroupId"]) for g in i["SecurityGroups"]),
                    "protected": attribute("disableApiTermination")["DisableApiTermination"]["Value"],
                    "user_data": base64.b64decode(data).decode(errors="replace"),
                    "volumes": [volume(volumes[d["Ebs"]["VolumeId"]], d["DeviceName"]) for d in i["BlockDeviceMappings"]],
                }
            )
        return sorted(found, key=lambda i: (i["address"] or "", i["zone"]))

    def volumes(self):
        listed = self.pages(self.ec2, "describe_volumes", "Volumes", Filters=self.filter)
        return sorted((volume(v, None) for v in listed), key=lambda v: v["tags"].get("gantry:address", ""))

    def templates(self):
        found = {}
        for t in self.pages(self.ec2, "describe_launch_templates", "LaunchTemplates", Filters=self.filter):
            versions = self.ec2.describe_launch_template_versions(LaunchTemplateId=t["LaunchTemplateId"], Versions=["$Default"])
            data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
            data["UserData"] = base64.b64decode(data.get("UserData", "")).decode(errors="replace")
            found[name(tags_of(t["Tags"]))] = data
        return found

    def scaling(self):
        client = self.client("autoscaling")
        listed = self.pages(client, "describe_auto_scaling_groups", "AutoScalingGroups", Filters=self.filter)
        keys = ("MinSize", "MaxSize", "DesiredCapacity", "HealthCheckType", "HealthCheckGracePeriod", "TargetGroupARNs")
        policies = self.pages(client, "describe_policies", "ScalingPolicies")
        return [
            {
                **{k: g.get(k) for k in keys},
                "tags": tags_of(g["Tags"]),
                "zones": sorted({i["AvailabilityZone"] for i in g["Instances"]}),
                "policies": sorted(p["ScalingAdjustment"] for p in policies if p["AutoScalingGroupName"] == g["AutoScalingGroupName"]),
            }
            for g in listed
        ]

    # --- front ------------------------------------------------------------------------------------

    def balancers(self):
        listed = self.mine(self.pages(self.elb, "describe_load_balancers", "LoadBalancers"), "LoadBalancerArn")
        targets = {t["TargetGroupArn"]: n for n, t in self.mine(self.pages(self.elb, "describe_target_groups", "TargetGroups"), "TargetGroupArn").items()}
        found = {}
        for called, b in listed.items():
            attributes = self.elb.describe_load_balancer_attributes(LoadBalancerArn=b["LoadBalancerArn"])["Attributes"]
            found[called] = {
                "scheme": b["Scheme"],
                "type": b["Type"],
                "groups": sorted(self.group_names.get(g, g) for g in b.get("SecurityGroups", [])),
                "attributes": {a["Key"]: a["Value"] for a in attributes},
                "listeners": sorted(
                    (
                        {
                            "port": l["Port"],
                            "protocol": l["Protocol"],
                            "policy": l.get("SslPolicy"),
                            "certificates": [c["CertificateArn"] for c in l.get("Certificates", [])],
                            "target": targets.get(l["DefaultActions"][0]["TargetGroupArn"]),
                        }
                        for l in self.pages(self.elb, "describe_listeners", "Listeners", LoadBalancerArn=b["LoadBalancerArn"])
                    ),
                    key=lambda l: l["port"],
                ),
            }
        return found

    def target_groups(self):
        found = {}
        for called, t in self.mine(self.pages(self.elb, "describe_target_groups", "TargetGroups"), "TargetGroupArn").items():
            attributes = self.elb.describe_target_group_attributes(TargetGroupArn=t["TargetGroupArn"])["Attributes"]
            health = self.elb.describe_target_health(TargetGroupArn=t["TargetGroupArn"])["TargetHealthDescriptions"]
            found[called] = {
                "protocol": t["Protocol"],
                "port": t["Port"],
                "health": {k: t.get(k) for k in ("HealthCheckProtocol", "HealthCheckPath", "HealthCheckPort", "Matcher")},
                "attributes": {a["Key"]: a["Value"] for a in attributes},
                "targets": len(health),
            }
        return found

    def certificates(self):
        client = self.client("acm")
        listed = [c["CertificateArn"] for c in self.pages(client, "list_certificates", "CertificateSummaryList") if c["CertificateArn"] in self.tags]
        return {arn: {k: c.get(k) for k in ("DomainName", "SubjectAlternativeNames", "Status")} for arn in listed for c in [client.describe_certificate(CertificateArn=arn)["Certificate"]]}

    def records(self):
        client = self.client("route53")
        zones = self.pages(client, "list_hosted_zones", "HostedZones")
        rows = [r for z in zones for r in self.pages(client, "list_resource_record_sets", "ResourceRecordSets", HostedZoneId=z["Id"])]
        return [
            {"name": r["Name"], "type": r["Type"], "alias": r.get("AliasTarget", {}).get("DNSName"), "values": [v["Value"] for v in r.get("ResourceRecords", [])]}
            for r in rows
            if r["Type"] not in ("NS", "SOA")
        ]

    # --- stores -----------------------------------------------------------------------------------

    def databases(self):
        keys = (
            "DBInstanceClass", "Engine", "EngineVersion", "DBName", "AllocatedStorage", "MaxAllocatedStorage", "StorageType", "Iops", "StorageThroughput", "StorageEncrypted", "KmsKeyId",
            "MultiAZ", "DeletionProtection", "PubliclyAccessible", "BackupRetentionPeriod", "CopyTagsToSnapshot", "AutoMinorVersionUpgrade", "PerformanceInsightsEnabled",
            "EnabledCloudwatchLogsExports", "CACertificateIdentifier", "ReadReplicaSourceDBInstanceIdentifier",
        )
        found = {}
        for called, d in self.mine(self.pages(self.rds, "describe_db_instances", "DBInstances"), "DBInstanceArn").items():
            group = d["DBParameterGroups"][0]["DBParameterGroupName"]
            values = self.pages(self.rds, "describe_db_parameters", "Parameters", DBParameterGroupName=group, Source="user") if not group.startswith("default.") else []
            found[called] = {
                **{k: d.get(k) for k in keys},
                "groups": sorted(self.group_names.get(g["VpcSecurityGroupId"], g["VpcSecurityGroupId"]) for g in d["VpcSecurityGroups"]),
                "parameters": {v["ParameterName"]: v["ParameterValue"] for v in values},
            }
        return found

    def caches(self):
        client = self.client("elasticache")
        keys = ("Engine", "CacheNodeType", "MultiAZ", "AutomaticFailover", "AuthTokenEnabled", "TransitEncryptionEnabled", "TransitEncryptionMode", "AtRestEncryptionEnabled", "KmsKeyId", "SnapshotRetentionLimit", "MemberClusters")
        listed = self.mine(self.pages(client, "describe_replication_groups", "ReplicationGroups"), "ARN")
        return {called: {k: g.get(k) for k in keys} for called, g in listed.items()}

    def buckets(self):
        s3, found = self.client("s3"), {}

        def ask(call, key):
            try:
                return call()[key]
            except ClientError as e:
                return e.response["Error"]["Code"]

        for b in s3.list_buckets()["Buckets"]:
            tags = self.tags.get(f"arn:aws:s3:::{b['Name']}")
            if tags is None:
                continue
            named = {"Bucket": b["Name"]}
            found[name(tags)] = {
                "name": b["Name"],
                "versioning": s3.get_bucket_versioning(**named).get("Status"),
                "encryption": ask(lambda: s3.get_bucket_encryption(**named), "ServerSideEncryptionConfiguration"),
                "public_access_block": ask(lambda: s3.get_public_access_block(**named), "PublicAccessBlockConfiguration"),
                "ownership": ask(lambda: s3.get_bucket_ownership_controls(**named), "OwnershipControls"),
                "policy": json.loads(ask(lambda: s3.get_bucket_policy(**named), "Policy")),
                "lifecycle": ask(lambda: s3.get_bucket_lifecycle_configuration(**named), "Rules"),
                "logging": s3.get_bucket_logging(**named).get("LoggingEnabled", {}).get("TargetBucket"),
            }
        return found

    # --- identity ---------------------------------------------------------------------------------

    def roles(self):
        listed = self.pages(self.client("iam"), "get_account_authorization_details", "RoleDetailList", Filter=["Role"])
        return {
            name(tags_of(r["Tags"])): {"trust": r["AssumeRolePolicyDocument"], "policies": {p["PolicyName"]: p["PolicyDocument"] for p in r["RolePolicyList"]}}
            for r in listed
            if tags_of(r.get("Tags", [])).get("gantry:site") == self.site
        }

    def secrets(self):
        """Names, and the values themselves: to search for them where they must not be."""
        client = self.client("secretsmanager")
        found = {}
        for s in self.pages(client, "list_secrets", "SecretList"):
            tags = tags_of(s.get("Tags", []))
            if tags.get("gantry:site") == self.site:
                try:
                    found[name(tags)] = client.get_secret_value(SecretId=s["ARN"]).get("SecretString")
                except ClientError:
                    found[name(tags)] = None
        return found

    def alarms(self):
        listed = self.pages(self.client("cloudwatch"), "describe_alarms", "MetricAlarms")
        keys = ("Namespace", "MetricName", "Statistic", "Period", "EvaluationPeriods", "Threshold", "ComparisonOperator", "TreatMissingData", "AlarmActions", "Dimensions")
        return {a["AlarmName"]: {k: a.get(k) for k in keys} for a in listed}

    def all(self):
        parts = (
            "groups", "subnets", "instances", "volumes", "templates", "scaling", "balancers", "target_groups", "certificates", "records", "databases", "caches", "buckets", "roles", "secrets", "alarms",
        )
        return {**{part: getattr(self, part)() for part in parts}, "tags": self.tags}


def tags_of(tags):
    return {t["Key"]: t["Value"] for t in tags}


def name(tags):
    """`rails` of the address `ec2/security_group:rails`."""
    return tags["gantry:address"].split(":", 1)[1]


def volume(v, device):
    return {
        "device": device,
        "type": v["VolumeType"],
        "size": v["Size"],
        "iops": v.get("Iops"),
        "throughput": v.get("Throughput"),
        "encrypted": v["Encrypted"],
        "key": v.get("KmsKeyId"),
        "tags": tags_of(v.get("Tags", [])),
    }


if __name__ == "__main__":
    print(json.dumps(Witness(*sys.argv[1:]).all(), indent=1, default=str))
