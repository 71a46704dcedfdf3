"""Asks a moto server, gap by gap, whether it behaves as AWS does.

`gaps.py URL [ID...]` prints one JSON object: the id of each gap and "as-aws", or what happened instead.
Run against moto as it is installed, every entry of `gaps.toml` must still be a gap; run against
`server.py`, those marked `patched` must be gone. A new moto that closes a gap is noticed that way, and so
is a patch that no longer bites.
"""

import json
import sys
import urllib.error
import urllib.request

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

REGION = "eu-west-1"
IMAGE = "ami-0e86e20dae9224db8"  # in amis.json
GAPS = {}


def gap(check):
    GAPS[check.__name__.replace("_", "-")] = check
    return check


class Cloud:
    """Clients by service name."""

    def __init__(self, url, key="test", secret="test"):
        self.url = url
        self.session = boto3.Session(key, secret, region_name=REGION)

    def __getattr__(self, service):
        client = self.session.client(
            service.replace("_", "-"),
            endpoint_url=self.url,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        setattr(self, service, client)
        return client

    def network(self):
        vpc = self.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            self.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{i}.0/24", AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"]
            for i, zone in enumerate("abc")
        ]
        return vpc, subnets

    def key(self):
        return self.kms.create_key()["KeyMetadata"]["Arn"]

    def run(self, **more):
        answer = self.ec2.run_instances(ImageId=more.pop("ImageId", IMAGE), InstanceType="t3.small", MinCount=1, MaxCount=1, **more)
        return answer["Instances"][0]["InstanceId"]

    def instance(self, id):
        return self.ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0]

    def balancer(self, **more):
        vpc, subnets = self.network()
        made = self.elbv2.create_load_balancer(Name="front", Type="network", Subnets=subnets, **more)
        return made["LoadBalancers"][0], vpc

    def target_group(self, vpc):
        made = self.elbv2.create_target_group(
            Name="web", Protocol="TCP", Port=80, VpcId=vpc, TargetType="instance", HealthCheckProtocol="HTTP", HealthCheckPath="/-/readiness"
        )
        return made["TargetGroups"][0]["TargetGroupArn"]


def post(url, body=b"", headers=None):
    urllib.request.urlopen(urllib.request.Request(url, body, headers or {"Content-Type": "text/plain"}, method="POST")).read()


def same(got, want):
    return True if got == want else f"{got!r}, not {want!r}"


def refused(code, call, **parameters):
    try:
        call(**parameters)
    except ClientError as e:
        return same(e.response["Error"]["Code"], code)
    return f"accepted, not {code}"


TAGS = [{"Key": "gantry:site", "Value": "acme"}, {"Key": "Name", "Value": "acme-x"}]


def spec(kind):
    return [{"ResourceType": kind, "Tags": TAGS}]


def listed(c, arn_part):
    found = c.resourcegroupstaggingapi.get_resources(TagFilters=[{"Key": "gantry:site", "Values": ["acme"]}])
    arns = [m["ResourceARN"] for m in found["ResourceTagMappingList"]]
    return True if any(arn_part in a for a in arns) else f"{arn_part} not among {arns}"


# --- EC2 ------------------------------------------------------------------------------------------


@gap
def ec2_run_instances_token(c):
    return same(c.run(ClientToken="one"), c.run(ClientToken="one"))


@gap
def ec2_run_instances_token_mismatch(c):
    c.run(ClientToken="one")
    return refused("IdempotentParameterMismatch", c.run, ClientToken="one", KeyName="other")


@gap
def ec2_create_volume_token(c):
    make = lambda: c.ec2.create_volume(AvailabilityZone="eu-west-1a", Size=10, VolumeType="gp3", ClientToken="one")["VolumeId"]
    return same(make(), make())


@gap
def ec2_create_nat_gateway_token(c):
    _, subnets = c.network()
    ip = c.ec2.allocate_address(Domain="vpc")["AllocationId"]
    make = lambda: c.ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=ip, ClientToken="one")["NatGateway"]["NatGatewayId"]
    return same(make(), make())


@gap
def ec2_create_launch_template_token(c):
    make = lambda: c.ec2.create_launch_template(
        LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "t3.small"}, ClientToken="one"
    )["LaunchTemplate"]["LaunchTemplateId"]
    return same(make(), make())


@gap
def ec2_create_launch_template_version_token(c):
    c.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "t3.small"})
    make = lambda: c.ec2.create_launch_template_version(
        LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "t3.large"}, ClientToken="one"
    )["LaunchTemplateVersion"]["VersionNumber"]
    return same(make(), make())


@gap
def ec2_create_vpc_endpoint_token(c):
    vpc, _ = c.network()
    make = lambda: c.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3", ClientToken="one")["VpcEndpoint"]["VpcEndpointId"]
    return same(make(), make())


@gap
def ec2_create_route_table_token(c):
    vpc, _ = c.network()
    make = lambda: c.ec2.create_route_table(VpcId=vpc, ClientToken="one")["RouteTable"]["RouteTableId"]
    return same(make(), make())


@gap
def ec2_create_flow_logs_token(c):
    vpc, _ = c.network()
    c.s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": REGION})
    make = lambda: c.ec2.create_flow_logs(
        ResourceIds=[vpc], ResourceType="VPC", TrafficType="ALL", LogDestinationType="s3", LogDestination="arn:aws:s3:::logs/flow/", ClientToken="one"
    )["FlowLogIds"]
    return same(make(), make())


@gap
def ec2_flow_log_fields(c):
    vpc, _ = c.network()
    c.s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": REGION})
    c.ec2.create_flow_logs(
        ResourceIds=[vpc], ResourceType="VPC", TrafficType="ALL", LogDestinationType="s3", LogDestination="arn:aws:s3:::logs/flow/",
        MaxAggregationInterval=600, TagSpecifications=spec("vpc-flow-log"),
    )
    found = c.ec2.describe_flow_logs(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["FlowLogs"]
    return same(
        [(f["ResourceId"], f["LogDestination"], f["MaxAggregationInterval"], f["FlowLogStatus"], f["DeliverLogsStatus"], len(f["Tags"])) for f in found],
        [(vpc, "arn:aws:s3:::logs/flow/", 600, "ACTIVE", "SUCCESS", 2)],
    )


@gap
def ec2_run_instances_termination_protection(c):
    id = c.run(DisableApiTermination=True)
    on = c.ec2.describe_instance_attribute(InstanceId=id, Attribute="disableApiTermination")["DisableApiTermination"]["Value"]
    return on and refused("OperationNotPermitted", c.ec2.terminate_instances, InstanceIds=[id])


@gap
def ec2_modify_termination_protection_off(c):
    id = c.run()
    for on in (True, False):
        c.ec2.modify_instance_attribute(InstanceId=id, DisableApiTermination={"Value": on})
    c.ec2.terminate_instances(InstanceIds=[id])
    return True


@gap
def ec2_run_instances_root_volume(c):
    key = c.key()
    id = c.run(
        BlockDeviceMappings=[
            {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 50, "VolumeType": "gp3", "Iops": 4000, "Throughput": 250, "Encrypted": True, "KmsKeyId": key, "DeleteOnTermination": True}}
        ],
        TagSpecifications=spec("instance") + spec("volume"),
    )
    volume = c.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [id]}])["Volumes"][0]
    got = [volume.get(k) for k in ("Size", "VolumeType", "Iops", "Throughput", "Encrypted", "KmsKeyId")] + [len(volume.get("Tags", []))]
    return same(got, [50, "gp3", 4000, 250, True, key, 2])


@gap
def ec2_volume_throughput(c):
    c.ec2.create_volume(AvailabilityZone="eu-west-1a", Size=10, VolumeType="gp3", Iops=4000, Throughput=250)
    return same(c.ec2.describe_volumes()["Volumes"][0].get("Throughput"), 250)


@gap
def ec2_volume_defaults(c):
    c.ec2.create_volume(AvailabilityZone="eu-west-1a", Size=10, VolumeType="gp3")
    volume = c.ec2.describe_volumes()["Volumes"][0]
    return same((volume.get("Iops"), volume.get("Throughput")), (3000, 125))


@gap
def ec2_volume_modify(c):
    id = c.ec2.create_volume(AvailabilityZone="eu-west-1a", Size=10, VolumeType="gp3", Iops=4000, Throughput=250)["VolumeId"]
    c.ec2.modify_volume(VolumeId=id, Size=20, Iops=5000, Throughput=300)
    volume = c.ec2.describe_volumes(VolumeIds=[id])["Volumes"][0]
    return same([volume.get(k) for k in ("Size", "Iops", "Throughput", "VolumeType")], [20, 5000, 300, "gp3"])


@gap
def ec2_volume_attached_twice(c):
    a, b = c.run(), c.run()
    zone = c.instance(a)["Placement"]["AvailabilityZone"]
    volume = c.ec2.create_volume(AvailabilityZone=zone, Size=10, VolumeType="gp3")["VolumeId"]
    c.ec2.attach_volume(VolumeId=volume, InstanceId=a, Device="/dev/sdf")
    return refused("VolumeInUse", c.ec2.attach_volume, VolumeId=volume, InstanceId=b, Device="/dev/sdf")


@gap
def ec2_detach_volume_without_instance(c):
    a = c.run()
    volume = c.ec2.create_volume(AvailabilityZone=c.instance(a)["Placement"]["AvailabilityZone"], Size=10)["VolumeId"]
    c.ec2.attach_volume(VolumeId=volume, InstanceId=a, Device="/dev/sdf")
    c.ec2.detach_volume(VolumeId=volume)
    return same(c.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"], "available")


@gap
def ec2_terminated_instance_keeps_data_volume(c):
    a = c.run()
    volume = c.ec2.create_volume(AvailabilityZone=c.instance(a)["Placement"]["AvailabilityZone"], Size=10)["VolumeId"]
    c.ec2.attach_volume(VolumeId=volume, InstanceId=a, Device="/dev/sdf")
    c.ec2.terminate_instances(InstanceIds=[a])
    return same(c.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"], "available")


@gap
def ec2_terminated_instance_has_no_address(c):
    a = c.run()
    ip = c.ec2.allocate_address(Domain="vpc")["AllocationId"]
    c.ec2.associate_address(AllocationId=ip, InstanceId=a)
    c.ec2.terminate_instances(InstanceIds=[a])
    address = c.ec2.describe_addresses(AllocationIds=[ip])["Addresses"][0]
    return same(address.get("AssociationId"), None)


@gap
def ec2_metadata_options(c):
    id = c.run(MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"})
    options = c.instance(id)["MetadataOptions"]
    return same((options["HttpTokens"], options["HttpPutResponseHopLimit"], options["HttpEndpoint"]), ("required", 1, "enabled"))


@gap
def ec2_user_data(c):
    id = c.run(UserData="#cloud-config\nhello: there\n")
    value = c.ec2.describe_instance_attribute(InstanceId=id, Attribute="userData")["UserData"]["Value"]
    import base64

    return same(base64.b64decode(value), b"#cloud-config\nhello: there\n")


@gap
def ec2_instance_profile_by_arn(c):
    c.iam.create_role(RoleName="r", Path="/gantry/", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}))
    arn = c.iam.create_instance_profile(InstanceProfileName="p", Path="/gantry/")["InstanceProfile"]["Arn"]
    c.iam.add_role_to_instance_profile(InstanceProfileName="p", RoleName="r")
    id = c.run(IamInstanceProfile={"Name": "p"})
    return same(c.instance(id).get("IamInstanceProfile", {}).get("Arn"), arn)


@gap
def ec2_instance_private_address(c):
    _, subnets = c.network()
    id = c.run(SubnetId=subnets[1])
    i = c.instance(id)
    return same((i["PrivateIpAddress"].startswith("10.9.1."), i["Placement"]["AvailabilityZone"], i.get("PublicIpAddress")), (True, "eu-west-1b", None))


@gap
def ec2_unknown_image(c):
    return refused("InvalidAMIID.NotFound", c.run, ImageId="ami-0123456789abcdef0")


@gap
def ec2_unknown_instance_type(c):
    return refused(
        "InvalidParameterValue", c.ec2.run_instances, ImageId=IMAGE, InstanceType="t9.huge", MinCount=1, MaxCount=1
    )


@gap
def ec2_images_of_canonical(c):
    found = c.ec2.describe_images(
        Owners=["099720109477"], Filters=[{"Name": "name", "Values": ["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"]}, {"Name": "state", "Values": ["available"]}]
    )["Images"]
    return same([i["RootDeviceName"] for i in found][:1], ["/dev/sda1"])


@gap
def ec2_image_names_filter(c):
    found = c.ec2.describe_images(Owners=["099720109477"], Filters=[{"Name": "name", "Values": ["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-*"]}])["Images"]
    return same(sorted({i["Architecture"] for i in found}), ["arm64"])


@gap
def ec2_image_block_devices(c):
    found = c.ec2.describe_images(Owners=["099720109477"])["Images"]
    return same([(d["DeviceName"], d["Ebs"]["VolumeSize"], d["Ebs"]["VolumeType"]) for i in found[:1] for d in i["BlockDeviceMappings"]], [("/dev/sda1", 8, "gp3")])


def template(c):
    made = c.ec2.create_launch_template(
        LaunchTemplateName="web",
        LaunchTemplateData={
            "ImageId": IMAGE,
            "InstanceType": "c5.xlarge",
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 60, "VolumeType": "gp3", "Iops": 3100, "Throughput": 200, "Encrypted": True}}],
            "UserData": "aGVsbG8=",
            "TagSpecifications": spec("instance") + spec("volume"),
        },
        TagSpecifications=spec("launch-template"),
    )
    return made["LaunchTemplate"]["LaunchTemplateId"]


@gap
def ec2_launch_template_applied(c):
    lt = template(c)
    id = c.ec2.run_instances(LaunchTemplate={"LaunchTemplateId": lt}, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    i = c.instance(id)
    volume = c.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [id]}])["Volumes"][0]
    return same(
        [i["ImageId"], i["InstanceType"], i["MetadataOptions"]["HttpTokens"], volume["Size"], volume.get("Throughput"), volume["Encrypted"], len([t for t in i["Tags"] if not t["Key"].startswith("aws:")]), len(volume.get("Tags", []))],
        [IMAGE, "c5.xlarge", "required", 60, 200, True, 2, 2],
    )


@gap
def ec2_launch_template_read_back(c):
    lt = template(c)
    data = c.ec2.describe_launch_template_versions(LaunchTemplateId=lt, Versions=["$Default"])["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    return same(
        [data["UserData"], data["MetadataOptions"]["HttpTokens"], sorted(t["ResourceType"] for t in data["TagSpecifications"]), data["BlockDeviceMappings"][0]["Ebs"].get("Throughput"), data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]],
        ["aGVsbG8=", "required", ["instance", "volume"], 200, True],
    )


@gap
def ec2_launch_template_new_version(c):
    lt = template(c)
    c.ec2.create_launch_template_version(LaunchTemplateId=lt, SourceVersion="1", LaunchTemplateData={"UserData": "eW91"})
    c.ec2.modify_launch_template(LaunchTemplateId=lt, DefaultVersion="2")
    data = c.ec2.describe_launch_template_versions(Versions=["$Default"])["LaunchTemplateVersions"][0]
    return same([data["VersionNumber"], data["LaunchTemplateData"]["UserData"], data["LaunchTemplateData"].get("InstanceType")], [2, "eW91", "c5.xlarge"])


@gap
def ec2_launch_template_site_filter(c):
    template(c)
    found = c.ec2.describe_launch_templates(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["LaunchTemplates"]
    none = c.ec2.describe_launch_templates(Filters=[{"Name": "tag:gantry:site", "Values": ["other"]}])["LaunchTemplates"]
    return same((len(found), len(none), len(found[0]["Tags"])), (1, 0, 2))


@gap
def ec2_launch_template_by_missing_id(c):
    lt = template(c)
    c.ec2.delete_launch_template(LaunchTemplateId=lt)
    return refused("InvalidLaunchTemplateId.NotFound", c.ec2.describe_launch_templates, LaunchTemplateIds=[lt])


@gap
def ec2_launch_template_tags_change(c):
    lt = template(c)
    c.ec2.create_tags(Resources=[lt], Tags=[{"Key": "Name", "Value": "new"}])
    tags = c.ec2.describe_launch_templates()["LaunchTemplates"][0]["Tags"]
    return same({t["Key"]: t["Value"] for t in tags}, {"gantry:site": "acme", "Name": "new"})


@gap
def ec2_launch_template_paging(c):
    for n in range(20):
        c.ec2.create_launch_template(LaunchTemplateName=f"t{n}", LaunchTemplateData={"InstanceType": "t3.small"})
    pages = c.ec2.get_paginator("describe_launch_templates").paginate()
    return same(sum(len(p["LaunchTemplates"]) for p in pages), 20)


@gap
def ec2_default_group_rules_revoked(c):
    vpc, _ = c.network()
    f = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    group = c.ec2.describe_security_groups(Filters=f)["SecurityGroups"][0]
    rules = c.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group["GroupId"]]}])["SecurityGroupRules"]
    c.ec2.create_tags(Resources=[group["GroupId"]], Tags=TAGS)
    c.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], SecurityGroupRuleIds=[r["SecurityGroupRuleId"] for r in rules if not r["IsEgress"]])
    c.ec2.revoke_security_group_egress(GroupId=group["GroupId"], SecurityGroupRuleIds=[r["SecurityGroupRuleId"] for r in rules if r["IsEgress"]])
    after = c.ec2.describe_security_groups(Filters=f)["SecurityGroups"][0]
    return same((len(group["IpPermissions"]), len(group["IpPermissionsEgress"]), after["IpPermissions"], after["IpPermissionsEgress"], len(after["Tags"])), (1, 1, [], [], 2))


@gap
def ec2_default_group_permissions_revoked(c):
    vpc, _ = c.network()
    f = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    group = c.ec2.describe_security_groups(Filters=f)["SecurityGroups"][0]
    c.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
    c.ec2.revoke_security_group_egress(GroupId=group["GroupId"], IpPermissions=group["IpPermissionsEgress"])
    after = c.ec2.describe_security_groups(Filters=f)["SecurityGroups"][0]
    return same((after["IpPermissions"], after["IpPermissionsEgress"]), ([], []))


def groups(c):
    vpc, _ = c.network()
    return [c.ec2.create_security_group(GroupName=n, Description=n, VpcId=vpc, TagSpecifications=spec("security-group"))["GroupId"] for n in ("a", "b")]


@gap
def ec2_security_group_rule_descriptions(c):
    a, b = groups(c)
    c.ec2.authorize_security_group_ingress(
        GroupId=a,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "one"}, {"CidrIp": "10.9.0.0/16", "Description": "two"}]},
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": b, "Description": "three"}]},
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": [{"GroupId": b, "Description": "four"}]},
        ],
    )
    found = c.ec2.describe_security_groups(GroupIds=[a])["SecurityGroups"][0]["IpPermissions"]
    got = sorted(
        [(p["FromPort"], r["CidrIp"], r.get("Description")) for p in found for r in p["IpRanges"]]
        + [(p["FromPort"], r["GroupId"], r.get("Description")) for p in found for r in p["UserIdGroupPairs"]]
    )
    return same(got, sorted([(80, "10.0.0.0/8", "one"), (80, "10.9.0.0/16", "two"), (80, b, "three"), (443, b, "four")]))


@gap
def ec2_security_group_rule_revoked_alone(c):
    a, b = groups(c)
    permissions = [
        {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "one"}, {"CidrIp": "10.9.0.0/16", "Description": "two"}]},
        {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": b, "Description": "three"}]},
    ]
    c.ec2.authorize_security_group_ingress(GroupId=a, IpPermissions=permissions)
    c.ec2.revoke_security_group_ingress(GroupId=a, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}])
    c.ec2.revoke_security_group_ingress(GroupId=a, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": b}]}])
    found = c.ec2.describe_security_groups(GroupIds=[a])["SecurityGroups"][0]["IpPermissions"]
    return same([[r["CidrIp"] for r in p["IpRanges"]] + [g["GroupId"] for g in p["UserIdGroupPairs"]] for p in found], [["10.9.0.0/16"]])


@gap
def ec2_security_group_referenced(c):
    a, b = groups(c)
    c.ec2.authorize_security_group_ingress(GroupId=a, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": b}]}])
    return refused("DependencyViolation", c.ec2.delete_security_group, GroupId=b)


@gap
def ec2_subnet_in_use(c):
    _, subnets = c.network()
    c.run(SubnetId=subnets[0])
    return refused("DependencyViolation", c.ec2.delete_subnet, SubnetId=subnets[0])


@gap
def ec2_vpc_in_use(c):
    vpc, _ = c.network()
    return refused("DependencyViolation", c.ec2.delete_vpc, VpcId=vpc)


@gap
def ec2_internet_gateway_in_use(c):
    vpc, _ = c.network()
    gateway = c.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    c.ec2.attach_internet_gateway(VpcId=vpc, InternetGatewayId=gateway)
    return refused("DependencyViolation", c.ec2.delete_internet_gateway, InternetGatewayId=gateway)


@gap
def ec2_nat_gateway_listing(c):
    _, subnets = c.network()
    ip = c.ec2.allocate_address(Domain="vpc")["AllocationId"]
    id = c.ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=ip, TagSpecifications=spec("natgateway"))["NatGateway"]["NatGatewayId"]
    found = c.ec2.describe_nat_gateways(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["NatGateways"]
    none = c.ec2.describe_nat_gateways(Filters=[{"Name": "nat-gateway-id", "Values": ["nat-0123"]}])["NatGateways"]
    c.ec2.delete_nat_gateway(NatGatewayId=id)
    after = c.ec2.describe_nat_gateways(Filters=[{"Name": "nat-gateway-id", "Values": [id]}])["NatGateways"]
    return same(
        ([(n["State"], n["NatGatewayAddresses"][0]["AllocationId"]) for n in found], none, [n["State"] for n in after], c.ec2.describe_addresses(AllocationIds=[ip])["Addresses"][0].get("AssociationId")),
        ([("available", ip)], [], ["deleted"], None),
    )


@gap
def ec2_route_table_associations(c):
    vpc, subnets = c.network()
    table = c.ec2.create_route_table(VpcId=vpc, TagSpecifications=spec("route-table"))["RouteTable"]["RouteTableId"]
    c.ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])
    found = c.ec2.describe_route_tables(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["RouteTables"]
    return same([[(a["SubnetId"], a["AssociationState"]["State"]) for a in t["Associations"]] for t in found], [[(subnets[0], "associated")]])


@gap
def ec2_route_table_in_use(c):
    vpc, subnets = c.network()
    table = c.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    c.ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])
    return refused("DependencyViolation", c.ec2.delete_route_table, RouteTableId=table)


@gap
def ec2_vpc_endpoint_gateway(c):
    vpc, _ = c.network()
    table = c.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    other = c.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    id = c.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3", RouteTableIds=[table], TagSpecifications=spec("vpc-endpoint"))["VpcEndpoint"]["VpcEndpointId"]
    c.ec2.modify_vpc_endpoint(VpcEndpointId=id, AddRouteTableIds=[other])
    found = c.ec2.describe_vpc_endpoints(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["VpcEndpoints"][0]
    routes = c.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    return same((found["State"], sorted(found["RouteTableIds"]), found["VpcEndpointType"], any(r.get("GatewayId") == id for r in routes)), ("available", sorted([table, other]), "Gateway", True))


@gap
def ec2_vpc_endpoint_interface(c):
    vpc, subnets = c.network()
    group = c.ec2.create_security_group(GroupName="a", Description="n", VpcId=vpc)["GroupId"]
    c.ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.kms", VpcEndpointType="Interface", SubnetIds=subnets, SecurityGroupIds=[group], PrivateDnsEnabled=True, TagSpecifications=spec("vpc-endpoint")
    )
    found = c.ec2.describe_vpc_endpoints(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["VpcEndpoints"][0]
    return same((found["State"], sorted(found["SubnetIds"]), [g["GroupId"] for g in found["Groups"]], found["PrivateDnsEnabled"], len(found["Tags"])), ("available", sorted(subnets), [group], True, 2))


@gap
def ec2_vpc_endpoint_poll_by_filter(c):
    vpc, _ = c.network()
    id = c.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3")["VpcEndpoint"]["VpcEndpointId"]
    found = c.ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-endpoint-id", "Values": [id]}])["VpcEndpoints"]
    return same([e["VpcEndpointId"] for e in found], [id])


@gap
def ec2_address_tags(c):
    c.ec2.allocate_address(Domain="vpc", TagSpecifications=spec("elastic-ip"))
    found = c.ec2.describe_addresses(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["Addresses"]
    return same([len(a["Tags"]) for a in found], [2])


@gap
def ec2_address_released_in_use(c):
    a = c.run()
    ip = c.ec2.allocate_address(Domain="vpc")["AllocationId"]
    c.ec2.associate_address(AllocationId=ip, InstanceId=a)
    return refused("InvalidIPAddress.InUse", c.ec2.release_address, AllocationId=ip)


@gap
def ec2_offerings_by_zone(c):
    found = c.ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["c5.xlarge"]}]
    )["InstanceTypeOfferings"]
    return same(sorted({o["Location"] for o in found}), ["eu-west-1a", "eu-west-1b", "eu-west-1c"])


@gap
def ec2_zones(c):
    found = c.ec2.describe_availability_zones(Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}])["AvailabilityZones"]
    return same([(z["ZoneName"], z["State"]) for z in found], [("eu-west-1a", "available"), ("eu-west-1b", "available"), ("eu-west-1c", "available")])


@gap
def ec2_instance_types(c):
    found = c.ec2.describe_instance_types(InstanceTypes=["c5.xlarge"])["InstanceTypes"][0]
    return same(found["VCpuInfo"]["DefaultVCpus"], 4)


@gap
def ec2_instance_poll_by_filter(c):
    id = c.run()
    found = c.ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [id, "i-0123456789abcdef0"]}])["Reservations"]
    return same([i["InstanceId"] for r in found for i in r["Instances"]], [id])


@gap
def ec2_volume_poll_by_filter(c):
    id = c.ec2.create_volume(AvailabilityZone="eu-west-1a", Size=10)["VolumeId"]
    found = c.ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [id, "vol-0123456789abcdef0"]}])["Volumes"]
    return same([v["VolumeId"] for v in found], [id])


@gap
def ec2_paging_of_small_things(c):
    """Five subnets, pages of two: each listing that gantry pages must come back whole."""
    vpc, subnets = c.network()
    pages = c.ec2.get_paginator("describe_subnets").paginate(Filters=[{"Name": "vpc-id", "Values": [vpc]}], PaginationConfig={"PageSize": 5})
    return same(sorted(s["SubnetId"] for p in pages for s in p["Subnets"]), sorted(subnets))


@gap
def ec2_instance_type_change_while_running(c):
    id = c.run()
    return refused("IncorrectInstanceState", c.ec2.modify_instance_attribute, InstanceId=id, InstanceType={"Value": "t3.large"})


@gap
def ec2_groups_of_the_first_interface(c):
    vpc, subnets = c.network()
    group = c.ec2.create_security_group(GroupName="a", Description="n", VpcId=vpc)["GroupId"]
    id = c.run(NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnets[0], "Groups": [group], "AssociatePublicIpAddress": False}])
    return same([g["GroupId"] for g in c.instance(id)["SecurityGroups"]], [group])


@gap
def ec2_launch_template_profile(c):
    c.iam.create_instance_profile(InstanceProfileName="p")
    lt = c.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": IMAGE, "InstanceType": "t3.small", "IamInstanceProfile": {"Name": "p"}})["LaunchTemplate"]["LaunchTemplateId"]
    id = c.ec2.run_instances(LaunchTemplate={"LaunchTemplateId": lt}, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    return same(c.instance(id).get("IamInstanceProfile", {}).get("Arn", "").endswith(":instance-profile/p"), True)


@gap
def ec2_stop_stopped_instance(c):
    id = c.run()
    states = [c.ec2.stop_instances(InstanceIds=[id])["StoppingInstances"][0]["CurrentState"]["Name"] for _ in range(2)]
    return same(states, ["stopping", "stopped"])


@gap
def ec2_stop_terminated_instance(c):
    id = c.run()
    c.ec2.terminate_instances(InstanceIds=[id])
    return refused("IncorrectInstanceState", c.ec2.stop_instances, InstanceIds=[id])


@gap
def ec2_resize_stopped_instance(c):
    id = c.run()
    c.ec2.stop_instances(InstanceIds=[id])
    c.ec2.modify_instance_attribute(InstanceId=id, InstanceType={"Value": "t3.large"})
    c.ec2.start_instances(InstanceIds=[id])
    i = c.instance(id)
    return same((i["InstanceType"], i["State"]["Name"]), ("t3.large", "running"))


@gap
def ec2_site_filter(c):
    """Every listing by tag leaves out what carries another value."""
    vpc, subnets = c.network()
    ip = c.ec2.allocate_address(Domain="vpc")["AllocationId"]
    instance = c.run(SubnetId=subnets[0])
    ids = [
        vpc, subnets[0], ip, instance,
        c.ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=ip)["NatGateway"]["NatGatewayId"],
        c.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"],
        c.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"],
        c.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3")["VpcEndpoint"]["VpcEndpointId"],
        c.ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"],
        c.ec2.create_volume(AvailabilityZone="eu-west-1a", Size=10)["VolumeId"],
        template(c),
    ]
    c.ec2.create_tags(Resources=ids, Tags=[{"Key": "gantry:site", "Value": "other"}])
    wrong = []
    for action, key in {
        "vpcs": "Vpcs", "subnets": "Subnets", "addresses": "Addresses", "instances": "Reservations", "nat_gateways": "NatGateways", "internet_gateways": "InternetGateways",
        "route_tables": "RouteTables", "vpc_endpoints": "VpcEndpoints", "security_groups": "SecurityGroups", "volumes": "Volumes", "launch_templates": "LaunchTemplates", "flow_logs": "FlowLogs",
    }.items():
        if getattr(c.ec2, f"describe_{action}")(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])[key]:
            wrong.append(action)
    return same(wrong, [])


@gap
def ec2_terminated_instance_leaves_no_interface(c):
    _, subnets = c.network()
    id = c.run(SubnetId=subnets[0])
    c.ec2.terminate_instances(InstanceIds=[id])
    return same(c.ec2.describe_network_interfaces()["NetworkInterfaces"], [])


@gap
def ec2_deleted_endpoint_is_gone(c):
    vpc, _ = c.network()
    id = c.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3", VpcEndpointType="Gateway")["VpcEndpoint"]["VpcEndpointId"]
    c.ec2.delete_vpc_endpoints(VpcEndpointIds=[id])
    return same(c.ec2.describe_vpc_endpoints()["VpcEndpoints"], [])


# --- load balancing -------------------------------------------------------------------------------


@gap
def elb_network_arn(c):
    made, _ = c.balancer()
    return same(made["LoadBalancerArn"].split(":loadbalancer/")[1].split("/")[0], "net")


@gap
def elb_fields(c):
    made, vpc = c.balancer(Scheme="internal")
    made = c.elbv2.describe_load_balancers()["LoadBalancers"][0]
    return same((made["Type"], made["Scheme"], made["VpcId"], len(made["AvailabilityZones"]), bool(made.get("CanonicalHostedZoneId")), ".elb.eu-west-1.amazonaws.com" in made["DNSName"]), ("network", "internal", vpc, 3, True, True))


@gap
def elb_security_groups(c):
    vpc, subnets = c.network()
    group = c.ec2.create_security_group(GroupName="a", Description="n", VpcId=vpc)["GroupId"]
    made = c.elbv2.create_load_balancer(Name="front", Type="network", Subnets=subnets, SecurityGroups=[group])["LoadBalancers"][0]
    found = c.elbv2.describe_load_balancers(LoadBalancerArns=[made["LoadBalancerArn"]])["LoadBalancers"][0]
    return same(found.get("SecurityGroups"), [group])


@gap
def elb_deletion_protection(c):
    made, _ = c.balancer()
    c.elbv2.modify_load_balancer_attributes(LoadBalancerArn=made["LoadBalancerArn"], Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}])
    return refused("OperationNotPermitted", c.elbv2.delete_load_balancer, LoadBalancerArn=made["LoadBalancerArn"])


@gap
def elb_attributes(c):
    made, _ = c.balancer()
    c.s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": REGION})
    want = {
        "access_logs.s3.enabled": "true",
        "access_logs.s3.bucket": "logs",
        "access_logs.s3.prefix": "nlb",
        "load_balancing.cross_zone.enabled": "true",
        "deletion_protection.enabled": "true",
    }
    c.elbv2.modify_load_balancer_attributes(LoadBalancerArn=made["LoadBalancerArn"], Attributes=[{"Key": k, "Value": v} for k, v in want.items()])
    got = {a["Key"]: a["Value"] for a in c.elbv2.describe_load_balancer_attributes(LoadBalancerArn=made["LoadBalancerArn"])["Attributes"]}
    return same({k: got.get(k) for k in want}, want)


@gap
def elb_target_group_attributes(c):
    _, vpc = c.balancer()
    arn = c.target_group(vpc)
    want = {"proxy_protocol_v2.enabled": "true", "preserve_client_ip.enabled": "false", "deregistration_delay.timeout_seconds": "60", "deregistration_delay.connection_termination.enabled": "true"}
    c.elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[{"Key": k, "Value": v} for k, v in want.items()])
    got = {a["Key"]: a["Value"] for a in c.elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]}
    return same({k: got.get(k) for k in want}, want)


@gap
def elb_target_group_default_attributes(c):
    _, vpc = c.balancer()
    got = {a["Key"]: a["Value"] for a in c.elbv2.describe_target_group_attributes(TargetGroupArn=c.target_group(vpc))["Attributes"]}
    return same([got.get("proxy_protocol_v2.enabled"), got.get("preserve_client_ip.enabled"), got.get("deregistration_delay.timeout_seconds")], ["false", "true", "300"])


@gap
def elb_target_group_health(c):
    _, vpc = c.balancer()
    made = c.elbv2.create_target_group(
        Name="h", Protocol="TCP", Port=8080, VpcId=vpc, TargetType="instance", HealthCheckProtocol="HTTP", HealthCheckPath="/-/readiness", HealthCheckPort="8060",
        Matcher={"HttpCode": "200-399"}, HealthCheckIntervalSeconds=10, HealthyThresholdCount=2, UnhealthyThresholdCount=2, HealthCheckTimeoutSeconds=6, Tags=TAGS,
    )["TargetGroups"][0]
    keys = ("HealthCheckProtocol", "HealthCheckPath", "HealthCheckPort", "Matcher", "HealthCheckIntervalSeconds", "HealthyThresholdCount", "UnhealthyThresholdCount", "HealthCheckTimeoutSeconds")
    return same([made.get(k) for k in keys], ["HTTP", "/-/readiness", "8060", {"HttpCode": "200-399"}, 10, 2, 2, 6])


@gap
def elb_tcp_health(c):
    _, vpc = c.balancer()
    made = c.elbv2.create_target_group(Name="h", Protocol="TCP", Port=2305, VpcId=vpc, TargetType="instance", HealthCheckProtocol="TCP", Tags=TAGS)["TargetGroups"][0]
    return same([made.get(k) for k in ("HealthCheckProtocol", "HealthCheckPath", "Matcher", "HealthCheckPort")], ["TCP", None, None, "traffic-port"])


@gap
def elb_target_group_modify(c):
    _, vpc = c.balancer()
    arn = c.target_group(vpc)
    c.elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckPath="/other", HealthCheckIntervalSeconds=15, HealthyThresholdCount=4, Matcher={"HttpCode": "200"})
    found = c.elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]
    return same([found["HealthCheckPath"], found["HealthCheckIntervalSeconds"], found["HealthyThresholdCount"], found["Matcher"]["HttpCode"]], ["/other", 15, 4, "200"])


def certificate(c):
    return c.acm.request_certificate(DomainName="gitlab.example.com", ValidationMethod="DNS", Tags=TAGS)["CertificateArn"]


@gap
def elb_tls_listener(c):
    made, vpc = c.balancer()
    cert = certificate(c)
    c.elbv2.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"], Protocol="TLS", Port=443, Certificates=[{"CertificateArn": cert}], SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06",
        DefaultActions=[{"Type": "forward", "TargetGroupArn": c.target_group(vpc)}], Tags=TAGS,
    )
    found = c.elbv2.describe_listeners(LoadBalancerArn=made["LoadBalancerArn"])["Listeners"][0]
    tags = c.elbv2.describe_tags(ResourceArns=[found["ListenerArn"]])["TagDescriptions"][0]["Tags"]
    return same((found["Protocol"], found["Port"], found["SslPolicy"], [x["CertificateArn"] for x in found["Certificates"]], len(tags)), ("TLS", 443, "ELBSecurityPolicy-TLS13-1-2-2021-06", [cert], 2))


@gap
def elb_tcp_listener_has_no_policy(c):
    made, vpc = c.balancer()
    c.elbv2.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="TCP", Port=80, DefaultActions=[{"Type": "forward", "TargetGroupArn": c.target_group(vpc)}])
    return same(c.elbv2.describe_listeners(LoadBalancerArn=made["LoadBalancerArn"])["Listeners"][0].get("SslPolicy"), None)


@gap
def elb_duplicate_listener(c):
    made, vpc = c.balancer()
    action = [{"Type": "forward", "TargetGroupArn": c.target_group(vpc)}]
    c.elbv2.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="TCP", Port=80, DefaultActions=action)
    return refused("DuplicateListener", c.elbv2.create_listener, LoadBalancerArn=made["LoadBalancerArn"], Protocol="TCP", Port=80, DefaultActions=action)


@gap
def elb_listener_modified(c):
    made, vpc = c.balancer()
    action = [{"Type": "forward", "TargetGroupArn": c.target_group(vpc)}]
    cert = certificate(c)
    arn = c.elbv2.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="TLS", Port=443, Certificates=[{"CertificateArn": cert}], SslPolicy="ELBSecurityPolicy-2016-08", DefaultActions=action)["Listeners"][0]["ListenerArn"]
    c.elbv2.modify_listener(ListenerArn=arn, SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06", Certificates=[{"CertificateArn": cert}], DefaultActions=action)
    found = c.elbv2.describe_listeners(ListenerArns=[arn])["Listeners"][0]
    return same((found["SslPolicy"], found["Port"]), ("ELBSecurityPolicy-TLS13-1-2-2021-06", 443))


@gap
def elb_tls_listener_modified(c):
    made, vpc = c.balancer()
    action = [{"Type": "forward", "TargetGroupArn": c.target_group(vpc)}]
    one, two = certificate(c), certificate(c)
    arn = c.elbv2.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="TLS", Port=443, Certificates=[{"CertificateArn": one}], DefaultActions=action)["Listeners"][0]["ListenerArn"]
    c.elbv2.modify_listener(ListenerArn=arn, Protocol="TLS", Port=443, Certificates=[{"CertificateArn": two}], DefaultActions=action)
    found = c.elbv2.describe_listeners(ListenerArns=[arn])["Listeners"][0]
    return same((found["Protocol"], [x["CertificateArn"] for x in found["Certificates"]]), ("TLS", [two]))


@gap
def elb_target_group_in_use(c):
    made, vpc = c.balancer()
    arn = c.target_group(vpc)
    c.elbv2.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="TCP", Port=80, DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}])
    return refused("ResourceInUse", c.elbv2.delete_target_group, TargetGroupArn=arn)


@gap
def elb_delete_gone(c):
    made, _ = c.balancer()
    for _ in range(2):
        c.elbv2.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
    return refused("LoadBalancerNotFound", c.elbv2.describe_load_balancers, LoadBalancerArns=[made["LoadBalancerArn"]])


@gap
def elb_targets(c):
    made, vpc = c.balancer()
    arn = c.target_group(vpc)
    id = c.run()
    c.elbv2.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="TCP", Port=80, DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}])
    c.elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": id, "Port": 80}])
    one = [(t["Target"]["Id"], t["Target"]["Port"]) for t in c.elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]]
    c.elbv2.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": id, "Port": 80}])
    two = c.elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    return same((one, two), ([(id, 80)], []))


@gap
def elb_name_length(c):
    vpc, subnets = c.network()
    code = refused("ValidationError", c.elbv2.create_load_balancer, Name="x" * 33, Type="network", Subnets=subnets)
    return code


@gap
def elb_same_balancer_again(c):
    vpc, subnets = c.network()
    make = lambda: c.elbv2.create_load_balancer(Name="front", Type="network", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    return same(make(), make())


@gap
def elb_duplicate_name_with_other_settings(c):
    vpc, subnets = c.network()
    c.elbv2.create_load_balancer(Name="front", Type="network", Subnets=subnets)
    return refused("DuplicateLoadBalancerName", c.elbv2.create_load_balancer, Name="front", Type="network", Subnets=subnets, Scheme="internal")


# --- ElastiCache ----------------------------------------------------------------------------------


@gap
def elasticache_parameter_group(c):
    c.elasticache.create_cache_parameter_group(CacheParameterGroupName="g", CacheParameterGroupFamily="valkey7", Description="d", Tags=TAGS)
    c.elasticache.modify_cache_parameter_group(CacheParameterGroupName="g", ParameterNameValues=[{"ParameterName": "maxmemory-policy", "ParameterValue": "noeviction"}])
    found = c.elasticache.describe_cache_parameter_groups(CacheParameterGroupName="g")["CacheParameterGroups"][0]
    values = c.elasticache.describe_cache_parameters(CacheParameterGroupName="g", Source="user")["Parameters"]
    tags = c.elasticache.list_tags_for_resource(ResourceName=found["ARN"])["TagList"]
    c.elasticache.delete_cache_parameter_group(CacheParameterGroupName="g")
    gone = refused("CacheParameterGroupNotFound", c.elasticache.describe_cache_parameter_groups, CacheParameterGroupName="g")
    return same((found["CacheParameterGroupFamily"], [(v["ParameterName"], v["ParameterValue"]) for v in values], len(tags), gone), ("valkey7", [("maxmemory-policy", "noeviction")], 2, True))


@gap
def elasticache_subnet_group(c):
    vpc, subnets = c.network()
    made = c.elasticache.create_cache_subnet_group(CacheSubnetGroupName="g", CacheSubnetGroupDescription="d", SubnetIds=subnets[:2], Tags=TAGS)["CacheSubnetGroup"]
    c.elasticache.modify_cache_subnet_group(CacheSubnetGroupName="g", SubnetIds=subnets)
    found = c.elasticache.describe_cache_subnet_groups(CacheSubnetGroupName="g")["CacheSubnetGroups"][0]
    tags = c.elasticache.list_tags_for_resource(ResourceName=made["ARN"])["TagList"]
    c.elasticache.delete_cache_subnet_group(CacheSubnetGroupName="g")
    return same((found["VpcId"], sorted(s["SubnetIdentifier"] for s in found["Subnets"]), len(tags), c.elasticache.describe_cache_subnet_groups()["CacheSubnetGroups"]), (vpc, sorted(subnets), 2, []))


def cache(c, **more):
    vpc, subnets = c.network()
    group = c.ec2.create_security_group(GroupName="cache", Description="n", VpcId=vpc)["GroupId"]
    c.elasticache.create_cache_subnet_group(CacheSubnetGroupName="g", CacheSubnetGroupDescription="d", SubnetIds=subnets)
    key = c.key()
    parameters = dict(
        ReplicationGroupId="acme-cache", ReplicationGroupDescription="d", Engine="valkey", EngineVersion="7.2", CacheNodeType="cache.m7g.large", NumCacheClusters=3,
        AutomaticFailoverEnabled=True, MultiAZEnabled=True, CacheSubnetGroupName="g", SecurityGroupIds=[group], TransitEncryptionEnabled=True, TransitEncryptionMode="required",
        AtRestEncryptionEnabled=True, KmsKeyId=key, AuthToken="a" * 32, SnapshotRetentionLimit=7, SnapshotWindow="01:00-02:00", PreferredMaintenanceWindow="sun:03:00-sun:04:00",
        AutoMinorVersionUpgrade=False, Port=6379, CacheParameterGroupName="default.valkey7", Tags=TAGS,
    )
    parameters.update(more)
    return c.elasticache.create_replication_group(**parameters)["ReplicationGroup"], group, key


@gap
def elasticache_replication_group(c):
    cache(c)
    found = c.elasticache.describe_replication_groups(ReplicationGroupId="acme-cache")["ReplicationGroups"][0]
    return same(
        [found.get(k) for k in ("Status", "CacheNodeType", "MultiAZ", "AutomaticFailover", "AuthTokenEnabled", "TransitEncryptionEnabled", "AtRestEncryptionEnabled", "SnapshotRetentionLimit", "SnapshotWindow", "MemberClusters", "ClusterEnabled", "AutoMinorVersionUpgrade", "Engine")],
        ["available", "cache.m7g.large", "enabled", "enabled", True, True, True, 7, "01:00-02:00", ["acme-cache-001", "acme-cache-002", "acme-cache-003"], False, False, "valkey"],
    )


@gap
def elasticache_endpoints(c):
    cache(c)
    group = c.elasticache.describe_replication_groups()["ReplicationGroups"][0]["NodeGroups"][0]
    return same((group["PrimaryEndpoint"]["Port"], bool(group["PrimaryEndpoint"]["Address"]), bool(group["ReaderEndpoint"]["Address"]), len(group["NodeGroupMembers"])), (6379, True, True, 3))


@gap
def elasticache_kms_key(c):
    _, _, key = cache(c)
    return same(c.elasticache.describe_replication_groups()["ReplicationGroups"][0].get("KmsKeyId"), key)


@gap
def elasticache_members(c):
    _, group, _ = cache(c)
    found = c.elasticache.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
    return same(
        [(m["CacheClusterId"], m["ReplicationGroupId"], m["EngineVersion"].startswith("7.2"), m["CacheSubnetGroupName"], m["PreferredMaintenanceWindow"], m["CacheParameterGroup"]["CacheParameterGroupName"], [g["SecurityGroupId"] for g in m["SecurityGroups"]]) for m in found],
        [(f"acme-cache-00{n}", "acme-cache", True, "g", "sun:03:00-sun:04:00", "default.valkey7", [group]) for n in (1, 2, 3)],
    )


@gap
def elasticache_tags(c):
    arn = cache(c)[0]["ARN"]
    c.elasticache.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "x", "Value": "y"}])
    tags = c.elasticache.list_tags_for_resource(ResourceName=arn)["TagList"]
    return same(len(tags), 3)


@gap
def elasticache_modify(c):
    cache(c)
    c.elasticache.modify_replication_group(
        ReplicationGroupId="acme-cache", ApplyImmediately=True, CacheNodeType="cache.m7g.xlarge", SnapshotRetentionLimit=3, SnapshotWindow="02:00-03:00", PreferredMaintenanceWindow="mon:03:00-mon:04:00"
    )
    found = c.elasticache.describe_replication_groups(ReplicationGroupId="acme-cache")["ReplicationGroups"][0]
    return same([found["CacheNodeType"], found["SnapshotRetentionLimit"], found["SnapshotWindow"]], ["cache.m7g.xlarge", 3, "02:00-03:00"])


@gap
def elasticache_replica_count(c):
    cache(c)
    c.elasticache.decrease_replica_count(ReplicationGroupId="acme-cache", NewReplicaCount=1, ApplyImmediately=True)
    down = len(c.elasticache.describe_replication_groups()["ReplicationGroups"][0]["MemberClusters"])
    c.elasticache.increase_replica_count(ReplicationGroupId="acme-cache", NewReplicaCount=2, ApplyImmediately=True)
    up = len(c.elasticache.describe_replication_groups()["ReplicationGroups"][0]["MemberClusters"])
    return same((down, up), (2, 3))


@gap
def elasticache_deleted(c):
    cache(c)
    c.elasticache.delete_replication_group(ReplicationGroupId="acme-cache", RetainPrimaryCluster=False)
    left = c.elasticache.describe_cache_clusters()["CacheClusters"]
    return same((refused("ReplicationGroupNotFoundFault", c.elasticache.describe_replication_groups, ReplicationGroupId="acme-cache"), left), (True, []))


@gap
def elasticache_duplicate(c):
    cache(c)
    return refused("ReplicationGroupAlreadyExists", c.elasticache.create_replication_group, ReplicationGroupId="acme-cache", ReplicationGroupDescription="d", Engine="valkey")


# --- RDS ------------------------------------------------------------------------------------------


@gap
def rds_parameter_group(c):
    arn = c.rds.create_db_parameter_group(DBParameterGroupName="g", DBParameterGroupFamily="postgres17", Description="d", Tags=TAGS)["DBParameterGroup"]["DBParameterGroupArn"]
    c.rds.modify_db_parameter_group(
        DBParameterGroupName="g",
        Parameters=[
            {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "pending-reboot"},
            {"ParameterName": "max_connections", "ParameterValue": "500", "ApplyMethod": "pending-reboot"},
        ],
    )
    values = c.rds.describe_db_parameters(DBParameterGroupName="g", Source="user")["Parameters"]
    tags = c.rds.list_tags_for_resource(ResourceName=arn)["TagList"]
    return same((sorted((v["ParameterName"], v["ParameterValue"], v["ApplyMethod"]) for v in values), len(tags)), ([("max_connections", "500", "pending-reboot"), ("rds.force_ssl", "1", "pending-reboot")], 2))


@gap
def rds_parameters_reset(c):
    c.rds.create_db_parameter_group(DBParameterGroupName="g", DBParameterGroupFamily="postgres17", Description="d")
    c.rds.modify_db_parameter_group(DBParameterGroupName="g", Parameters=[{"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "pending-reboot"}])
    c.rds.reset_db_parameter_group(DBParameterGroupName="g", Parameters=[{"ParameterName": "rds.force_ssl", "ApplyMethod": "pending-reboot"}])
    return same(c.rds.describe_db_parameters(DBParameterGroupName="g", Source="user")["Parameters"], [])


@gap
def rds_subnet_group(c):
    vpc, subnets = c.network()
    made = c.rds.create_db_subnet_group(DBSubnetGroupName="g", DBSubnetGroupDescription="d", SubnetIds=subnets[:2], Tags=TAGS)["DBSubnetGroup"]
    c.rds.modify_db_subnet_group(DBSubnetGroupName="g", SubnetIds=subnets)
    found = c.rds.describe_db_subnet_groups(DBSubnetGroupName="g")["DBSubnetGroups"][0]
    tags = c.rds.list_tags_for_resource(ResourceName=made["DBSubnetGroupArn"])["TagList"]
    return same((found["VpcId"], sorted(s["SubnetIdentifier"] for s in found["Subnets"]), len(tags)), (vpc, sorted(subnets), 2))


def database(c, **more):
    vpc, subnets = c.network()
    group = c.ec2.create_security_group(GroupName="db", Description="n", VpcId=vpc)["GroupId"]
    c.rds.create_db_subnet_group(DBSubnetGroupName="g", DBSubnetGroupDescription="d", SubnetIds=subnets)
    c.rds.create_db_parameter_group(DBParameterGroupName="p", DBParameterGroupFamily="postgres17", Description="d")
    key = c.key()
    parameters = dict(
        DBInstanceIdentifier="acme-main", DBInstanceClass="db.m6g.large", Engine="postgres", EngineVersion="17", DBName="gitlabhq_production", MasterUsername="gitlab", MasterUserPassword="x" * 32,
        AllocatedStorage=200, MaxAllocatedStorage=400, StorageType="gp3", Iops=12000, StorageThroughput=500, MultiAZ=True, DBSubnetGroupName="g", DBParameterGroupName="p", VpcSecurityGroupIds=[group],
        StorageEncrypted=True, KmsKeyId=key, BackupRetentionPeriod=14, PreferredBackupWindow="01:00-02:00", PreferredMaintenanceWindow="sun:03:00-sun:04:00", DeletionProtection=True,
        EnablePerformanceInsights=True, PerformanceInsightsKMSKeyId=key, EnableCloudwatchLogsExports=["postgresql", "upgrade"], AutoMinorVersionUpgrade=False, CopyTagsToSnapshot=True, PubliclyAccessible=False,
        CACertificateIdentifier="rds-ca-rsa2048-g1", EnableIAMDatabaseAuthentication=False, Port=5432, Tags=TAGS,
    )
    parameters.update(more)
    return c.rds.create_db_instance(**parameters)["DBInstance"], group, key


@gap
def rds_instance(c):
    _, group, key = database(c)
    d = c.rds.describe_db_instances(DBInstanceIdentifier="acme-main")["DBInstances"][0]
    want = dict(
        DBInstanceClass="db.m6g.large", AllocatedStorage=200, StorageType="gp3", Iops=12000, MultiAZ=True, StorageEncrypted=True, KmsKeyId=key, BackupRetentionPeriod=14,
        PreferredBackupWindow="01:00-02:00", PreferredMaintenanceWindow="sun:03:00-sun:04:00", DeletionProtection=True, AutoMinorVersionUpgrade=False, CopyTagsToSnapshot=True, PubliclyAccessible=False, DBName="gitlabhq_production",
        MasterUsername="gitlab", DBInstanceStatus="available",
    )
    return same({k: d.get(k) for k in want}, want)


@gap
def rds_storage_throughput(c):
    database(c)
    return same(c.rds.describe_db_instances()["DBInstances"][0].get("StorageThroughput"), 500)


@gap
def rds_max_allocated_storage(c):
    database(c)
    return same(c.rds.describe_db_instances()["DBInstances"][0].get("MaxAllocatedStorage"), 400)


@gap
def rds_performance_insights(c):
    _, _, key = database(c)
    d = c.rds.describe_db_instances()["DBInstances"][0]
    return same((d.get("PerformanceInsightsEnabled"), d.get("PerformanceInsightsKMSKeyId")), (True, key))


@gap
def rds_log_exports(c):
    database(c)
    return same(c.rds.describe_db_instances()["DBInstances"][0].get("EnabledCloudwatchLogsExports"), ["postgresql", "upgrade"])


@gap
def rds_log_exports_modified(c):
    database(c)
    c.rds.modify_db_instance(DBInstanceIdentifier="acme-main", ApplyImmediately=True, CloudwatchLogsExportConfiguration={"DisableLogTypes": ["upgrade"]})
    return same(c.rds.describe_db_instances()["DBInstances"][0].get("EnabledCloudwatchLogsExports"), ["postgresql"])


@gap
def rds_ca_certificate(c):
    database(c)
    return same(c.rds.describe_db_instances()["DBInstances"][0].get("CACertificateIdentifier"), "rds-ca-rsa2048-g1")


@gap
def rds_groups(c):
    _, group, _ = database(c)
    d = c.rds.describe_db_instances()["DBInstances"][0]
    return same(([(g["VpcSecurityGroupId"], g["Status"]) for g in d["VpcSecurityGroups"]], d["DBSubnetGroup"]["DBSubnetGroupName"], [(p["DBParameterGroupName"], p["ParameterApplyStatus"]) for p in d["DBParameterGroups"]]), ([(group, "active")], "g", [("p", "in-sync")]))


@gap
def rds_engine_version(c):
    """Asked for a major version, RDS picks a minor one of it."""
    database(c)
    return same(c.rds.describe_db_instances()["DBInstances"][0]["EngineVersion"].startswith("17."), True)


@gap
def rds_endpoint(c):
    database(c)
    e = c.rds.describe_db_instances()["DBInstances"][0]["Endpoint"]
    return same((e["Port"], e["Address"].startswith("acme-main.")), (5432, True))


@gap
def rds_secondary_zone(c):
    database(c)
    d = c.rds.describe_db_instances()["DBInstances"][0]
    return same((bool(d.get("AvailabilityZone")), bool(d.get("SecondaryAvailabilityZone"))), (True, True))


@gap
def rds_tags(c):
    arn = database(c)[0]["DBInstanceArn"]
    in_listing = c.rds.describe_db_instances()["DBInstances"][0].get("TagList", [])
    c.rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "x", "Value": "y"}])
    return same((len(in_listing), len(c.rds.list_tags_for_resource(ResourceName=arn)["TagList"])), (2, 3))


@gap
def rds_modify(c):
    database(c)
    want = dict(DBInstanceClass="db.m6g.xlarge", AllocatedStorage=300, Iops=13000, BackupRetentionPeriod=7, PreferredBackupWindow="02:00-03:00", PreferredMaintenanceWindow="mon:05:00-mon:06:00", DeletionProtection=False, MultiAZ=False, CopyTagsToSnapshot=False)
    c.rds.modify_db_instance(DBInstanceIdentifier="acme-main", ApplyImmediately=True, **want)
    d = c.rds.describe_db_instances()["DBInstances"][0]
    return same({k: d.get(k) for k in want}, want)


@gap
def rds_modify_extras(c):
    database(c)
    want = dict(StorageThroughput=550, MaxAllocatedStorage=600)
    c.rds.modify_db_instance(DBInstanceIdentifier="acme-main", ApplyImmediately=True, CACertificateIdentifier="rds-ca-rsa4096-g1", **want)
    d = c.rds.describe_db_instances()["DBInstances"][0]
    return same([d.get("StorageThroughput"), d.get("MaxAllocatedStorage"), d.get("CACertificateIdentifier")], [550, 600, "rds-ca-rsa4096-g1"])


@gap
def rds_deletion_protection(c):
    database(c)
    return refused("InvalidParameterCombination", c.rds.delete_db_instance, DBInstanceIdentifier="acme-main", SkipFinalSnapshot=True)


@gap
def rds_final_snapshot(c):
    database(c, DeletionProtection=False)
    c.rds.delete_db_instance(DBInstanceIdentifier="acme-main", FinalDBSnapshotIdentifier="last")
    s = c.rds.describe_db_snapshots(DBSnapshotIdentifier="last")["DBSnapshots"][0]
    return same((s["Status"], s["Encrypted"], len(s.get("TagList", []))), ("available", True, 2))


@gap
def rds_replica(c):
    _, group, key = database(c)
    c.rds.create_db_instance_read_replica(
        DBInstanceIdentifier="acme-main-r1", SourceDBInstanceIdentifier="acme-main", DBInstanceClass="db.m6g.large", VpcSecurityGroupIds=[group], DBParameterGroupName="p", DeletionProtection=True, CopyTagsToSnapshot=True, Tags=TAGS
    )
    r = c.rds.describe_db_instances(DBInstanceIdentifier="acme-main-r1")["DBInstances"][0]
    s = c.rds.describe_db_instances(DBInstanceIdentifier="acme-main")["DBInstances"][0]
    return same(
        (r.get("ReadReplicaSourceDBInstanceIdentifier"), s["ReadReplicaDBInstanceIdentifiers"], r["DBInstanceClass"], [p["DBParameterGroupName"] for p in r["DBParameterGroups"]], len(r.get("TagList", [])), [g["VpcSecurityGroupId"] for g in r["VpcSecurityGroups"]], r["Endpoint"]["Address"].startswith("acme-main-r1."), r["DeletionProtection"]),
        ("acme-main", ["acme-main-r1"], "db.m6g.large", ["p"], 2, [group], True, True),
    )


@gap
def rds_replica_log_exports(c):
    database(c)
    c.rds.create_db_instance_read_replica(DBInstanceIdentifier="acme-main-r1", SourceDBInstanceIdentifier="acme-main", EnableCloudwatchLogsExports=["postgresql"])
    got = {d["DBInstanceIdentifier"]: d.get("EnabledCloudwatchLogsExports") for d in c.rds.describe_db_instances()["DBInstances"]}
    return same(got, {"acme-main": ["postgresql", "upgrade"], "acme-main-r1": ["postgresql"]})


@gap
def rds_subnet_group_in_use(c):
    database(c)
    return refused("InvalidDBSubnetGroupStateFault", c.rds.delete_db_subnet_group, DBSubnetGroupName="g")


@gap
def rds_parameter_group_in_use(c):
    database(c)
    return refused("InvalidDBParameterGroupState", c.rds.delete_db_parameter_group, DBParameterGroupName="p")


@gap
def rds_engine_versions(c):
    return same(bool(c.rds.describe_db_engine_versions(Engine="postgres")["DBEngineVersions"]), True)


@gap
def rds_missing(c):
    return refused("DBInstanceNotFound", c.rds.describe_db_instances, DBInstanceIdentifier="none")


@gap
def rds_poll_by_filter(c):
    database(c)
    found = c.rds.describe_db_instances(Filters=[{"Name": "db-instance-id", "Values": ["acme-main", "other"]}])["DBInstances"]
    return same([d["DBInstanceIdentifier"] for d in found], ["acme-main"])


# --- ACM, Route 53 --------------------------------------------------------------------------------


@gap
def acm_tags_and_records(c):
    arn = c.acm.request_certificate(DomainName="gitlab.example.com", SubjectAlternativeNames=["registry.example.com"], ValidationMethod="DNS", Tags=TAGS)["CertificateArn"]
    found = c.acm.describe_certificate(CertificateArn=arn)["Certificate"]
    records = {v["DomainName"]: v["ResourceRecord"]["Type"] for v in found["DomainValidationOptions"]}
    tags = c.acm.list_tags_for_certificate(CertificateArn=arn)["Tags"]
    return same((records, len(tags), found["Status"]), ({"gitlab.example.com": "CNAME", "registry.example.com": "CNAME"}, 2, "PENDING_VALIDATION"))


@gap
def acm_token(c):
    make = lambda: c.acm.request_certificate(DomainName="gitlab.example.com", ValidationMethod="DNS", IdempotencyToken="one")["CertificateArn"]
    return same(make(), make())


@gap
def acm_issued_only_with_its_record(c):
    """AWS issues a certificate when its record stands in DNS, moto after a while whatever DNS says."""
    import time

    arn = certificate(c)
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        if c.acm.describe_certificate(CertificateArn=arn)["Certificate"]["Status"] == "ISSUED":
            return "issued without a record"
        time.sleep(0.2)
    return True


@gap
def acm_in_use(c):
    made, vpc = c.balancer()
    cert = certificate(c)
    c.elbv2.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="TLS", Port=443, Certificates=[{"CertificateArn": cert}], DefaultActions=[{"Type": "forward", "TargetGroupArn": c.target_group(vpc)}])
    return refused("ResourceInUseException", c.acm.delete_certificate, CertificateArn=cert)


@gap
def acm_listing(c):
    arn = certificate(c)
    return same([s["CertificateArn"] for s in c.acm.list_certificates(CertificateStatuses=["PENDING_VALIDATION", "ISSUED"])["CertificateSummaryList"]], [arn])


def zone(c):
    return c.route53.create_hosted_zone(Name="example.net", CallerReference="r")["HostedZone"]["Id"]


@gap
def route53_alias(c):
    id = zone(c)
    record = {"Name": "gitlab.example.net", "Type": "A", "AliasTarget": {"HostedZoneId": "Z2IFOLAFXWLO4F", "DNSName": "front.elb.eu-west-1.amazonaws.com", "EvaluateTargetHealth": True}}
    c.route53.change_resource_record_sets(HostedZoneId=id, ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]})
    found = [r for r in c.route53.list_resource_record_sets(HostedZoneId=id)["ResourceRecordSets"] if r["Type"] == "A"][0]
    return same((found["AliasTarget"]["DNSName"].rstrip("."), found["AliasTarget"]["EvaluateTargetHealth"], found["AliasTarget"]["HostedZoneId"], found["Name"]), ("front.elb.eu-west-1.amazonaws.com", True, "Z2IFOLAFXWLO4F", "gitlab.example.net."))


@gap
def route53_create_twice(c):
    id = zone(c)
    batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": {"Name": "a.example.net", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "10.0.0.1"}]}}]}
    c.route53.change_resource_record_sets(HostedZoneId=id, ChangeBatch=batch)
    return refused("InvalidChangeBatch", c.route53.change_resource_record_sets, HostedZoneId=id, ChangeBatch=batch)


@gap
def route53_create_beside_other_value(c):
    id = zone(c)
    batch = lambda value: {"Changes": [{"Action": "CREATE", "ResourceRecordSet": {"Name": "a.example.net", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": value}]}}]}
    c.route53.change_resource_record_sets(HostedZoneId=id, ChangeBatch=batch("10.0.0.1"))
    return refused("InvalidChangeBatch", c.route53.change_resource_record_sets, HostedZoneId=id, ChangeBatch=batch("10.0.0.2"))


@gap
def route53_delete_as_listed(c):
    id = zone(c)
    record = {"Name": "a.example.net", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "10.0.0.1"}]}
    c.route53.change_resource_record_sets(HostedZoneId=id, ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]})
    listed = [r for r in c.route53.list_resource_record_sets(HostedZoneId=id)["ResourceRecordSets"] if r["Type"] == "A"][0]
    c.route53.change_resource_record_sets(HostedZoneId=id, ChangeBatch={"Changes": [{"Action": "DELETE", "ResourceRecordSet": listed}]})
    return same([r for r in c.route53.list_resource_record_sets(HostedZoneId=id)["ResourceRecordSets"] if r["Type"] == "A"], [])


@gap
def acm_issued_with_its_record(c):
    arn = certificate(c)
    proof = c.acm.describe_certificate(CertificateArn=arn)["Certificate"]["DomainValidationOptions"][0]["ResourceRecord"]
    id = c.route53.list_hosted_zones()["HostedZones"][0]["Id"]
    record = {"Name": proof["Name"], "Type": "CNAME", "TTL": 300, "ResourceRecords": [{"Value": proof["Value"]}]}
    c.route53.change_resource_record_sets(HostedZoneId=id, ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]})
    return same(c.acm.describe_certificate(CertificateArn=arn)["Certificate"]["Status"], "ISSUED")


@gap
def route53_delete_missing(c):
    id = zone(c)
    batch = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": {"Name": "a.example.net", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "10.0.0.1"}]}}]}
    return refused("InvalidChangeBatch", c.route53.change_resource_record_sets, HostedZoneId=id, ChangeBatch=batch)


@gap
def route53_get_change(c):
    id = zone(c)
    batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": {"Name": "a.example.net", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "10.0.0.1"}]}}]}
    change = c.route53.change_resource_record_sets(HostedZoneId=id, ChangeBatch=batch)["ChangeInfo"]["Id"]
    return same(c.route53.get_change(Id=change)["ChangeInfo"]["Status"], "INSYNC")


# --- S3 -------------------------------------------------------------------------------------------


def bucket(c, name="acme-uploads"):
    c.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


@gap
def s3_versioning_reply(c):
    """The reply's outer element has to be `VersioningConfiguration`; the Rust SDK insists on it."""
    b = bucket(c)
    c.s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    raw = urllib.request.urlopen(f"{c.url}/{b}?versioning").read().decode()
    return True if "<VersioningConfiguration" in raw else raw


@gap
def s3_bucket_logging(c):
    b, log = bucket(c), bucket(c, "acme-logs")
    c.s3.put_bucket_policy(Bucket=log, Policy=json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme-logs/*"}]}))
    c.s3.put_bucket_logging(Bucket=b, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": log, "TargetPrefix": "s3/"}})
    got = c.s3.get_bucket_logging(Bucket=b).get("LoggingEnabled", {})
    return same((got.get("TargetBucket"), got.get("TargetPrefix")), (log, "s3/"))


@gap
def s3_bucket_logging_beside_tls_policy(c):
    b, log = bucket(c), bucket(c, "acme-logs")
    tls = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::acme-logs/*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    allow = {"Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme-logs/*"}
    c.s3.put_bucket_policy(Bucket=log, Policy=json.dumps({"Version": "2012-10-17", "Statement": [tls, allow]}))
    c.s3.put_bucket_logging(Bucket=b, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": log, "TargetPrefix": "s3/"}})
    return same(c.s3.get_bucket_logging(Bucket=b).get("LoggingEnabled", {}).get("TargetBucket"), log)


@gap
def s3_bucket_logging_below_a_prefix(c):
    b, log = bucket(c), bucket(c, "acme-logs")
    allow = {"Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme-logs/access/*"}
    c.s3.put_bucket_policy(Bucket=log, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    c.s3.put_bucket_logging(Bucket=b, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": log, "TargetPrefix": "access/uploads/"}})
    return same(c.s3.get_bucket_logging(Bucket=b).get("LoggingEnabled", {}).get("TargetPrefix"), "access/uploads/")


@gap
def s3_bucket_logging_owner_enforced(c):
    """With the bucket owner enforced there are no ACLs, and delivery is allowed by the policy."""
    b, log = bucket(c), bucket(c, "acme-logs")
    c.s3.put_bucket_ownership_controls(Bucket=log, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    c.s3.put_bucket_policy(Bucket=log, Policy=json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme-logs/*", "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}}}]}))
    c.s3.put_bucket_logging(Bucket=b, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": log, "TargetPrefix": "s3/"}})
    return same(c.s3.get_bucket_logging(Bucket=b).get("LoggingEnabled", {}).get("TargetBucket"), log)


@gap
def s3_ownership_controls(c):
    b = bucket(c)
    c.s3.put_bucket_ownership_controls(Bucket=b, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    return same(c.s3.get_bucket_ownership_controls(Bucket=b)["OwnershipControls"]["Rules"], [{"ObjectOwnership": "BucketOwnerEnforced"}])


@gap
def s3_ownership_by_default(c):
    """Since April 2023 every new bucket has its owner enforced."""
    return same(c.s3.get_bucket_ownership_controls(Bucket=bucket(c))["OwnershipControls"]["Rules"], [{"ObjectOwnership": "BucketOwnerEnforced"}])


@gap
def s3_encryption(c):
    b = bucket(c)
    key = c.key()
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}, "BucketKeyEnabled": True}
    c.s3.put_bucket_encryption(Bucket=b, ServerSideEncryptionConfiguration={"Rules": [rule]})
    return same(c.s3.get_bucket_encryption(Bucket=b)["ServerSideEncryptionConfiguration"]["Rules"], [rule])


@gap
def s3_encryption_by_default(c):
    """Since January 2023 every bucket is encrypted, with S3's own key unless told otherwise."""
    rules = c.s3.get_bucket_encryption(Bucket=bucket(c))["ServerSideEncryptionConfiguration"]["Rules"]
    return same([r["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for r in rules], ["AES256"])


@gap
def s3_lifecycle(c):
    b = bucket(c)
    rules = [
        {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
        {"ID": "b", "Status": "Enabled", "Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 30}},
        {"ID": "c", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 90}},
    ]
    c.s3.put_bucket_lifecycle_configuration(Bucket=b, LifecycleConfiguration={"Rules": rules})
    return same(sorted(c.s3.get_bucket_lifecycle_configuration(Bucket=b)["Rules"], key=lambda r: r["ID"]), rules)


@gap
def s3_public_access_block(c):
    b = bucket(c)
    want = dict(BlockPublicAcls=True, IgnorePublicAcls=True, BlockPublicPolicy=True, RestrictPublicBuckets=True)
    c.s3.put_public_access_block(Bucket=b, PublicAccessBlockConfiguration=want)
    return same(c.s3.get_public_access_block(Bucket=b)["PublicAccessBlockConfiguration"], want)


@gap
def s3_policy_round_trip(c):
    b = bucket(c)
    policy = {"Version": "2012-10-17", "Statement": [{"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{b}", f"arn:aws:s3:::{b}/*"], "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}
    c.s3.put_bucket_policy(Bucket=b, Policy=json.dumps(policy))
    return same(json.loads(c.s3.get_bucket_policy(Bucket=b)["Policy"]), policy)


@gap
def s3_tags_at_creation(c):
    c.s3.create_bucket(Bucket="acme-t", CreateBucketConfiguration={"LocationConstraint": REGION, "Tags": TAGS})
    return same(len(c.s3.get_bucket_tagging(Bucket="acme-t")["TagSet"]), 2)


@gap
def s3_bucket_owned_already(c):
    bucket(c)
    return refused("BucketAlreadyOwnedByYou", bucket, c=c)


@gap
def s3_not_empty(c):
    b = bucket(c)
    c.s3.put_object(Bucket=b, Key="k", Body=b"v")
    return refused("BucketNotEmpty", c.s3.delete_bucket, Bucket=b)


@gap
def s3_emptying_versions(c):
    b = bucket(c)
    c.s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(3):
        c.s3.put_object(Bucket=b, Key="k", Body=b"v")
    c.s3.delete_object(Bucket=b, Key="k")
    upload = c.s3.create_multipart_upload(Bucket=b, Key="big")["UploadId"]
    listed = c.s3.list_object_versions(Bucket=b)
    all = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in listed["Versions"] + listed["DeleteMarkers"]]
    c.s3.delete_objects(Bucket=b, Delete={"Objects": all})
    c.s3.abort_multipart_upload(Bucket=b, Key="big", UploadId=upload)
    c.s3.delete_bucket(Bucket=b)
    return same(len(all), 4)


@gap
def s3_list_buckets_by_prefix(c):
    bucket(c, "acme-a"), bucket(c, "other-b")
    found = c.s3.list_buckets(Prefix="acme-", BucketRegion=REGION)["Buckets"]
    return same([b["Name"] for b in found], ["acme-a"])


@gap
def s3_list_buckets_region(c):
    bucket(c)
    return same([b.get("BucketRegion") for b in c.s3.list_buckets(MaxBuckets=100)["Buckets"]], [REGION])


@gap
def s3_tls_policy_lets_the_owner_in(c):
    b = bucket(c)
    policy = {"Version": "2012-10-17", "Statement": [{"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{b}", f"arn:aws:s3:::{b}/*"], "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}
    c.s3.put_bucket_policy(Bucket=b, Policy=json.dumps(policy))
    c.s3.put_object(Bucket=b, Key="k", Body=b"v")
    c.s3.get_object(Bucket=b, Key="k")
    c.s3.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "k"}]})
    return same(c.s3.list_object_versions(Bucket=b).get("Versions", []), [])


# --- KMS, secrets, IAM ----------------------------------------------------------------------------


def key_policy():
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "Admin", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*", "Resource": "*"}]})


@gap
def kms_put_key_policy_without_name(c):
    key = c.key()
    c.kms.put_key_policy(KeyId=key, Policy=key_policy())
    return same(json.loads(c.kms.get_key_policy(KeyId=key)["Policy"]), json.loads(key_policy()))


@gap
def kms_get_key_policy_without_name(c):
    key = c.kms.create_key(Policy=key_policy())["KeyMetadata"]["KeyId"]
    return same(json.loads(c.kms.get_key_policy(KeyId=key)["Policy"]), json.loads(key_policy()))


@gap
def kms_rotation(c):
    key = c.key()
    c.kms.enable_key_rotation(KeyId=key)
    return same(c.kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"], True)


@gap
def kms_tags(c):
    key = c.kms.create_key(Tags=[{"TagKey": t["Key"], "TagValue": t["Value"]} for t in TAGS])["KeyMetadata"]["KeyId"]
    return same(len(c.kms.list_resource_tags(KeyId=key)["Tags"]), 2)


@gap
def kms_alias(c):
    key = c.kms.create_key()["KeyMetadata"]["KeyId"]
    c.kms.create_alias(AliasName="alias/gantry/acme", TargetKeyId=key)
    found = [a for a in c.kms.list_aliases()["Aliases"] if a["AliasName"] == "alias/gantry/acme"]
    return same([a.get("TargetKeyId") for a in found], [key])


@gap
def kms_alias_of_deleted_key(c):
    key = c.kms.create_key()["KeyMetadata"]["KeyId"]
    c.kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    return same(c.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "PendingDeletion")


@gap
def secrets_listing(c):
    c.secretsmanager.create_secret(Name="gantry/acme/db", Description="d", SecretString="s", KmsKeyId=c.key(), Tags=TAGS)
    found = c.secretsmanager.list_secrets(Filters=[{"Key": "tag-key", "Values": ["gantry:site"]}])["SecretList"]
    return same([(s["Name"], s.get("Description"), bool(s.get("KmsKeyId")), len(s["Tags"])) for s in found], [("gantry/acme/db", "d", True, 2)])


@gap
def secrets_tag_value_filter(c):
    c.secretsmanager.create_secret(Name="a", SecretString="s", Tags=TAGS)
    c.secretsmanager.create_secret(Name="b", SecretString="s", Tags=[{"Key": "gantry:site", "Value": "other"}])
    found = c.secretsmanager.list_secrets(Filters=[{"Key": "tag-key", "Values": ["gantry:site"]}, {"Key": "tag-value", "Values": ["acme"]}])["SecretList"]
    return same([s["Name"] for s in found], ["a"])


@gap
def secrets_token(c):
    make = lambda: c.secretsmanager.create_secret(Name="a", SecretString="s", ClientRequestToken="1" * 32)["ARN"]
    return same(make(), make())


@gap
def secrets_duplicate(c):
    c.secretsmanager.create_secret(Name="a", SecretString="s")
    return refused("ResourceExistsException", c.secretsmanager.create_secret, Name="a", SecretString="t")


@gap
def secrets_scheduled(c):
    c.secretsmanager.create_secret(Name="a", SecretString="s")
    c.secretsmanager.delete_secret(SecretId="a", RecoveryWindowInDays=7)
    return same((refused("InvalidRequestException", c.secretsmanager.create_secret, Name="a", SecretString="t"), c.secretsmanager.list_secrets()["SecretList"]), (True, []))


@gap
def secrets_without_value(c):
    c.secretsmanager.create_secret(Name="a", Tags=TAGS)
    return refused("ResourceNotFoundException", c.secretsmanager.get_secret_value, SecretId="a")


def role(c):
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    c.iam.create_role(RoleName="acme-rails", Path="/gantry/acme/", AssumeRolePolicyDocument=json.dumps(trust), Tags=TAGS)
    c.iam.put_role_policy(RoleName="acme-rails", PolicyName="gantry", PolicyDocument=key_policy())
    c.iam.create_instance_profile(InstanceProfileName="acme-rails", Path="/gantry/acme/", Tags=TAGS)
    c.iam.add_role_to_instance_profile(InstanceProfileName="acme-rails", RoleName="acme-rails")


@gap
def iam_authorization_details(c):
    role(c)
    found = c.iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
    r = [r for r in found if r["RoleName"] == "acme-rails"][0]
    return same(
        (len(r.get("Tags", [])), [p["PolicyName"] for p in r["RolePolicyList"]], [p["PolicyDocument"] for p in r["RolePolicyList"]] == [json.loads(key_policy())], [p["InstanceProfileName"] for p in r["InstanceProfileList"]], r["Path"]),
        (2, ["gantry"], True, ["acme-rails"], "/gantry/acme/"),
    )


@gap
def iam_authorization_details_paging(c):
    for n in range(7):
        c.iam.create_role(RoleName=f"r{n}", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}))
    pages = c.iam.get_paginator("get_account_authorization_details").paginate(Filter=["Role"], PaginationConfig={"PageSize": 3})
    return same(sorted(r["RoleName"] for p in pages for r in p["RoleDetailList"]), [f"r{n}" for n in range(7)])


@gap
def iam_profile_tags(c):
    role(c)
    return same(len(c.iam.list_instance_profile_tags(InstanceProfileName="acme-rails")["Tags"]), 2)


@gap
def iam_profile_tagging(c):
    role(c)
    c.iam.tag_instance_profile(InstanceProfileName="acme-rails", Tags=[{"Key": "x", "Value": "y"}])
    c.iam.untag_instance_profile(InstanceProfileName="acme-rails", TagKeys=["Name"])
    return same(sorted(t["Key"] for t in c.iam.list_instance_profile_tags(InstanceProfileName="acme-rails")["Tags"]), ["gantry:site", "x"])


@gap
def iam_role_delete_conflict(c):
    role(c)
    return refused("DeleteConflict", c.iam.delete_role, RoleName="acme-rails")


@gap
def iam_malformed_policy(c):
    role(c)
    return refused("MalformedPolicyDocument", c.iam.put_role_policy, RoleName="acme-rails", PolicyName="x", PolicyDocument="{")


def as_operator(c, *statements):
    """A cloud seen by a user with this policy only, and enforcement on."""
    c.iam.create_user(UserName="operator")
    c.iam.put_user_policy(UserName="operator", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    key = c.iam.create_access_key(UserName="operator")["AccessKey"]
    enforce(c, 0)
    return Cloud(c.url, key["AccessKeyId"], key["SecretAccessKey"])


def enforce(c, after):
    post(f"{c.url}/moto-api/reset-auth", str(after).encode())


@gap
def iam_policy_resources(c):
    o = as_operator(c, {"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "arn:aws:kms:*:123456789012:key/*"})
    o.kms.create_key()
    return refused("AccessDeniedException", o.kms.list_keys)


@gap
def iam_policy_prefixes(c):
    o = as_operator(c, {"Effect": "Allow", "Action": ["cloudwatch:DescribeAlarms", "tag:GetResources", "s3:PutEncryptionConfiguration"], "Resource": "*"})
    o.cloudwatch.describe_alarms()
    o.resourcegroupstaggingapi.get_resources()
    return True


@gap
def iam_refusals(c):
    """Each protocol has its own words for a refusal, and all of them name the action."""
    o = as_operator(c, {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"})
    cases = {
        "UnauthorizedOperation": (o.ec2.describe_vpcs, "ec2:DescribeVpcs"),
        "AccessDenied": (o.rds.describe_db_instances, "rds:DescribeDBInstances"),
        "AccessDeniedException": (o.kms.list_keys, "kms:ListKeys"),
    }
    wrong = []
    for code, (call, action) in cases.items():
        try:
            call()
        except ClientError as e:
            error = e.response["Error"]
            if error["Code"] != code or action not in error["Message"]:
                wrong.append(error)
    return same(wrong, [])


@gap
def iam_signature_without_body(c):
    o = as_operator(c, {"Effect": "Allow", "Action": "route53:ListHostedZones", "Resource": "*"})
    o.route53.list_hosted_zones()
    return True


@gap
def iam_signature_of_forms(c):
    o = as_operator(c, {"Effect": "Allow", "Action": "iam:CreateGroup", "Resource": "*"})
    form = b"Action=CreateGroup&Version=2010-05-08&GroupName=a%20b"
    request = AWSRequest("POST", c.url + "/", data=form, headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})
    SigV4Auth(o.session.get_credentials(), "iam", "us-east-1").add_auth(request)
    try:
        post(c.url + "/", form, dict(request.headers))
    except urllib.error.HTTPError as e:
        return e.read().decode()
    return True


@gap
def iam_side_permissions(c):
    c.iam.create_instance_profile(InstanceProfileName="p")
    o = as_operator(c, {"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*"})
    return refused("UnauthorizedOperation", o.run, IamInstanceProfile={"Name": "p"})


# --- tagging API ----------------------------------------------------------------------------------


@gap
def tagging_elastic_ip(c):
    c.ec2.allocate_address(Domain="vpc", TagSpecifications=spec("elastic-ip"))
    return listed(c, ":elastic-ip/eipalloc-")


@gap
def tagging_vpc_endpoint(c):
    vpc, _ = c.network()
    c.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3", TagSpecifications=spec("vpc-endpoint"))
    return listed(c, ":vpc-endpoint/vpce-")


@gap
def tagging_launch_template(c):
    template(c)
    return listed(c, ":launch-template/lt-")


@gap
def tagging_nat_gateway(c):
    _, subnets = c.network()
    ip = c.ec2.allocate_address(Domain="vpc")["AllocationId"]
    c.ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=ip, TagSpecifications=spec("natgateway"))
    return listed(c, ":natgateway/nat-")


@gap
def tagging_security_group(c):
    groups(c)
    return listed(c, ":security-group/sg-")


@gap
def tagging_sns(c):
    c.sns.create_topic(Name="acme-alarms", Tags=TAGS)
    return listed(c, ":sns:")


@gap
def tagging_logs(c):
    c.logs.create_log_group(logGroupName="/acme/x", tags={t["Key"]: t["Value"] for t in TAGS})
    return listed(c, ":log-group:/acme/x")


@gap
def tagging_secret(c):
    c.secretsmanager.create_secret(Name="a", SecretString="s", Tags=TAGS)
    return listed(c, ":secretsmanager:")


@gap
def tagging_kms(c):
    c.kms.create_key(Tags=[{"TagKey": t["Key"], "TagValue": t["Value"]} for t in TAGS])
    return listed(c, ":kms:")


@gap
def tagging_acm(c):
    certificate(c)
    return listed(c, ":acm:")


@gap
def tagging_s3(c):
    c.s3.put_bucket_tagging(Bucket=bucket(c), Tagging={"TagSet": TAGS})
    return listed(c, ":s3:::acme-uploads")


@gap
def tagging_load_balancer(c):
    c.balancer(Tags=TAGS)
    return listed(c, ":loadbalancer/net/front/")


@gap
def tagging_target_group(c):
    _, vpc = c.balancer()
    c.elbv2.create_target_group(Name="web", Protocol="TCP", Port=80, VpcId=vpc, Tags=TAGS)
    return listed(c, ":targetgroup/web/")


@gap
def tagging_listener(c):
    made, vpc = c.balancer()
    c.elbv2.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="TCP", Port=80, DefaultActions=[{"Type": "forward", "TargetGroupArn": c.target_group(vpc)}], Tags=TAGS)
    return listed(c, ":listener/net/front/")


@gap
def tagging_rds_instance(c):
    database(c)
    return listed(c, ":db:acme-main")


@gap
def tagging_rds_subnet_group(c):
    _, subnets = c.network()
    c.rds.create_db_subnet_group(DBSubnetGroupName="g", DBSubnetGroupDescription="d", SubnetIds=subnets, Tags=TAGS)
    return listed(c, ":subgrp:g")


@gap
def tagging_rds_parameter_group(c):
    c.rds.create_db_parameter_group(DBParameterGroupName="g", DBParameterGroupFamily="postgres17", Description="d", Tags=TAGS)
    return listed(c, ":pg:g")


@gap
def tagging_elasticache(c):
    cache(c)
    return listed(c, ":replicationgroup:acme-cache")


@gap
def tagging_elasticache_subnet_group(c):
    _, subnets = c.network()
    c.elasticache.create_cache_subnet_group(CacheSubnetGroupName="g", CacheSubnetGroupDescription="d", SubnetIds=subnets, Tags=TAGS)
    return listed(c, ":subnetgroup:g")


@gap
def tagging_elasticache_parameter_group(c):
    c.elasticache.create_cache_parameter_group(CacheParameterGroupName="g", CacheParameterGroupFamily="valkey7", Description="d", Tags=TAGS)
    return listed(c, ":parametergroup:g")


@gap
def tagging_cloudwatch_alarm(c):
    alarm(c)
    return listed(c, ":alarm:acme-cpu")


@gap
def tagging_paging(c):
    for n in range(120):
        c.kms.create_key(Tags=[{"TagKey": t["Key"], "TagValue": t["Value"]} for t in TAGS])
    pages = c.resourcegroupstaggingapi.get_paginator("get_resources").paginate(TagFilters=[{"Key": "gantry:site", "Values": ["acme"]}], ResourcesPerPage=100)
    return same(len({m["ResourceARN"] for p in pages for m in p["ResourceTagMappingList"]}), 120)


@gap
def tagging_one_page(c):
    """Sixty things with two tags each fit on one page of a hundred."""
    for _ in range(60):
        c.kms.create_key(Tags=[{"TagKey": t["Key"], "TagValue": t["Value"]} for t in TAGS])
    page = c.resourcegroupstaggingapi.get_resources(TagFilters=[{"Key": "gantry:site", "Values": ["acme"]}], ResourcesPerPage=100)
    return same(len(page["ResourceTagMappingList"]), 60)


@gap
def tagging_iam_not_listed(c):
    """Roles and profiles carry tags, but the tagging API does not know them outside us-east-1."""
    role(c)
    return same(c.resourcegroupstaggingapi.get_resources(TagFilters=[{"Key": "gantry:site", "Values": ["acme"]}])["ResourceTagMappingList"], [])


# --- SNS, logs, Auto Scaling, alarms, the rest ----------------------------------------------------


@gap
def sns_topic(c):
    key = c.key()
    arn = c.sns.create_topic(Name="acme-alarms", Attributes={"KmsMasterKeyId": key}, Tags=TAGS)["TopicArn"]
    return same((c.sns.get_topic_attributes(TopicArn=arn)["Attributes"].get("KmsMasterKeyId"), len(c.sns.list_tags_for_resource(ResourceArn=arn)["Tags"])), (key, 2))


@gap
def sns_email_subscription_pending(c):
    arn = c.sns.create_topic(Name="acme-alarms")["TopicArn"]
    c.sns.subscribe(TopicArn=arn, Protocol="email", Endpoint="a@example.com")
    return same([(s["Endpoint"], s["SubscriptionArn"]) for s in c.sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]], [("a@example.com", "PendingConfirmation")])


@gap
def sns_subscribe_twice(c):
    arn = c.sns.create_topic(Name="acme-alarms")["TopicArn"]
    for _ in range(2):
        c.sns.subscribe(TopicArn=arn, Protocol="email", Endpoint="a@example.com")
    return same(len(c.sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]), 1)


@gap
def logs_group(c):
    c.logs.create_log_group(logGroupName="/acme/x", tags={"gantry:site": "acme"})
    c.logs.put_retention_policy(logGroupName="/acme/x", retentionInDays=30)
    found = c.logs.describe_log_groups(logGroupNamePrefix="/acme/")["logGroups"][0]
    arn = found.get("logGroupArn") or found["arn"].removesuffix(":*")
    return same((found.get("retentionInDays"), c.logs.list_tags_for_resource(resourceArn=arn)["tags"]), (30, {"gantry:site": "acme"}))


@gap
def logs_group_arn_field(c):
    c.logs.create_log_group(logGroupName="/acme/x")
    return same(c.logs.describe_log_groups()["logGroups"][0].get("logGroupArn"), "arn:aws:logs:eu-west-1:123456789012:log-group:/acme/x")


@gap
def logs_duplicate(c):
    c.logs.create_log_group(logGroupName="/acme/x")
    return refused("ResourceAlreadyExistsException", c.logs.create_log_group, logGroupName="/acme/x")


def autoscaling(c):
    made, vpc = c.balancer()
    subnets = [z["SubnetId"] for z in made["AvailabilityZones"]]
    arn = c.target_group(vpc)
    lt = template(c)
    c.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="acme-rails", LaunchTemplate={"LaunchTemplateId": lt, "Version": "1"}, MinSize=2, MaxSize=4, DesiredCapacity=2, VPCZoneIdentifier=",".join(subnets), TargetGroupARNs=[arn],
        HealthCheckType="ELB", HealthCheckGracePeriod=600, Tags=[{**t, "ResourceId": "acme-rails", "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True} for t in TAGS],
    )
    return lt, arn, subnets


@gap
def autoscaling_group(c):
    lt, arn, subnets = autoscaling(c)
    g = c.autoscaling.describe_auto_scaling_groups(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["AutoScalingGroups"][0]
    return same(
        (g["LaunchTemplate"]["LaunchTemplateId"], g["LaunchTemplate"]["Version"], g["MinSize"], g["MaxSize"], g["DesiredCapacity"], g["TargetGroupARNs"], g["HealthCheckType"], g["HealthCheckGracePeriod"], sorted(g["VPCZoneIdentifier"].split(",")), len(g["Tags"]), [i["LifecycleState"] for i in g["Instances"]]),
        (lt, "1", 2, 4, 2, [arn], "ELB", 600, sorted(subnets), 2, ["InService", "InService"]),
    )


@gap
def autoscaling_instances(c):
    """Nodes come from the launch template, with its tags and the group's."""
    autoscaling(c)
    found = [i for r in c.ec2.describe_instances(Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["Reservations"] for i in r["Instances"]]
    return same([(i["InstanceType"], i["ImageId"], i["MetadataOptions"]["HttpTokens"], sorted(t["Key"] for t in i["Tags"] if t["Key"] == "aws:autoscaling:groupName")) for i in found], [("c5.xlarge", IMAGE, "required", ["aws:autoscaling:groupName"])] * 2)


@gap
def autoscaling_spread(c):
    autoscaling(c)
    g = c.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]
    return same(len({i["AvailabilityZone"] for i in g["Instances"]}), 2)


@gap
def autoscaling_update(c):
    lt, _, _ = autoscaling(c)
    c.ec2.create_launch_template_version(LaunchTemplateId=lt, SourceVersion="1", LaunchTemplateData={"UserData": "eW91"})
    c.autoscaling.update_auto_scaling_group(AutoScalingGroupName="acme-rails", MinSize=1, MaxSize=6, HealthCheckGracePeriod=300, LaunchTemplate={"LaunchTemplateId": lt, "Version": "2"})
    g = c.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]
    return same((g["MinSize"], g["MaxSize"], g["HealthCheckGracePeriod"], g["LaunchTemplate"]["Version"]), (1, 6, 300, "2"))


@gap
def autoscaling_policy(c):
    autoscaling(c)
    made = c.autoscaling.put_scaling_policy(AutoScalingGroupName="acme-rails", PolicyName="acme-out", PolicyType="SimpleScaling", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1, Cooldown=300)
    found = c.autoscaling.describe_policies(AutoScalingGroupName="acme-rails")["ScalingPolicies"][0]
    return same((found["PolicyARN"], found["ScalingAdjustment"], found["Cooldown"], found["AdjustmentType"]), (made["PolicyARN"], 1, 300, "ChangeInCapacity"))


@gap
def autoscaling_policy_put_twice(c):
    autoscaling(c)
    put = lambda n: c.autoscaling.put_scaling_policy(AutoScalingGroupName="acme-rails", PolicyName="acme-out", PolicyType="SimpleScaling", AdjustmentType="ChangeInCapacity", ScalingAdjustment=n, Cooldown=300)["PolicyARN"]
    one, two = put(1), put(2)
    found = c.autoscaling.describe_policies()["ScalingPolicies"]
    return same((one == two, [p["ScalingAdjustment"] for p in found]), (True, [2]))


def put_policy(c):
    return c.autoscaling.put_scaling_policy(AutoScalingGroupName="acme-rails", PolicyName="acme-out", PolicyType="SimpleScaling", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1)


@gap
def autoscaling_delete_policy_by_arn(c):
    autoscaling(c)
    put_policy(c)
    arn = c.autoscaling.describe_policies()["ScalingPolicies"][0]["PolicyARN"]
    c.autoscaling.delete_policy(AutoScalingGroupName="acme-rails", PolicyName=arn)
    return same(c.autoscaling.describe_policies()["ScalingPolicies"], [])


@gap
def autoscaling_group_takes_policies(c):
    autoscaling(c)
    put_policy(c)
    c.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="acme-rails", ForceDelete=True)
    return same(c.autoscaling.describe_policies()["ScalingPolicies"], [])


@gap
def autoscaling_force_delete(c):
    autoscaling(c)
    c.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="acme-rails", ForceDelete=True)
    left = [i["State"]["Name"] for r in c.ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    return same((c.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"], set(left)), ([], {"terminated"}))


@gap
def autoscaling_tag_changes(c):
    autoscaling(c)
    tag = lambda k, v: {"Key": k, "Value": v, "ResourceId": "acme-rails", "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}
    c.autoscaling.create_or_update_tags(Tags=[tag("x", "y"), tag("Name", "z")])
    c.autoscaling.delete_tags(Tags=[tag("gantry:site", "acme")])
    return same(sorted((t["Key"], t["Value"]) for t in c.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Tags"]), [("Name", "z"), ("x", "y")])


@gap
def autoscaling_targets(c):
    _, arn, _ = autoscaling(c)
    return same(len(c.elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]), 2)


def alarm(c):
    c.cloudwatch.put_metric_alarm(
        AlarmName="acme-cpu", AlarmDescription="d", Namespace="AWS/RDS", MetricName="CPUUtilization", Statistic="Average", Dimensions=[{"Name": "DBInstanceIdentifier", "Value": "acme-main"}],
        Period=300, EvaluationPeriods=3, Threshold=80.5, ComparisonOperator="GreaterThanThreshold", TreatMissingData="breaching", AlarmActions=["arn:aws:sns:eu-west-1:123456789012:acme"], Tags=TAGS,
    )


@gap
def cloudwatch_alarm(c):
    alarm(c)
    a = c.cloudwatch.describe_alarms(AlarmNamePrefix="acme-", AlarmTypes=["MetricAlarm"])["MetricAlarms"][0]
    keys = ("Namespace", "MetricName", "Statistic", "Period", "EvaluationPeriods", "Threshold", "ComparisonOperator", "TreatMissingData", "AlarmActions", "AlarmDescription")
    return same([a.get(k) for k in keys], ["AWS/RDS", "CPUUtilization", "Average", 300, 3, 80.5, "GreaterThanThreshold", "breaching", ["arn:aws:sns:eu-west-1:123456789012:acme"], "d"])


@gap
def cloudwatch_alarm_tags(c):
    alarm(c)
    arn = c.cloudwatch.describe_alarms()["MetricAlarms"][0]["AlarmArn"]
    return same(len(c.cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"]), 2)


def cbor(c, operation, body):
    """The Rust SDK speaks only this protocol to CloudWatch (Smithy RPC v2, CBOR)."""
    import cbor2

    request = urllib.request.Request(
        f"{c.url}/service/GraniteServiceVersion20100801/operation/{operation}",
        data=cbor2.dumps(body),
        headers={
            "Content-Type": "application/cbor",
            "Accept": "application/cbor",
            "smithy-protocol": "rpc-v2-cbor",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20261120/eu-west-1/monitoring/aws4_request, SignedHeaders=host, Signature=0",
        },
    )
    with urllib.request.urlopen(request) as answer:
        return cbor2.loads(answer.read())


@gap
def cloudwatch_cbor(c):
    cbor(
        c,
        "PutMetricAlarm",
        {"AlarmName": "acme-cpu", "Namespace": "AWS/RDS", "MetricName": "CPUUtilization", "Statistic": "Average", "Period": 300, "EvaluationPeriods": 3, "Threshold": 80.5, "ComparisonOperator": "GreaterThanThreshold", "Tags": TAGS, "Dimensions": [{"Name": "a", "Value": "b"}]},
    )
    found = cbor(c, "DescribeAlarms", {"AlarmNames": ["acme-cpu"], "MaxRecords": 100})["MetricAlarms"][0]
    return same((found["Threshold"], found["Period"], found["Dimensions"]), (80.5, 300, [{"Name": "a", "Value": "b"}]))


# --- snapshots, copies, restores ------------------------------------------------------------------

FAR = "eu-central-1"


def far(c):
    """The same cloud, seen from the region that copies go to."""
    there = Cloud(c.url)
    there.session = boto3.Session("test", "test", region_name=FAR)
    return there


def disk(c, **more):
    made = c.ec2.create_volume(AvailabilityZone="eu-west-1a", Size=20, VolumeType="gp3", Encrypted=True, KmsKeyId=c.key(), TagSpecifications=spec("volume"), **more)
    return made["VolumeId"], made["KmsKeyId"]


@gap
def ec2_snapshots_of_an_instance(c):
    a = c.run()
    volume = c.ec2.create_volume(AvailabilityZone=c.instance(a)["Placement"]["AvailabilityZone"], Size=10, TagSpecifications=spec("volume"))["VolumeId"]
    c.ec2.attach_volume(VolumeId=volume, InstanceId=a, Device="/dev/sdf")
    point = [{"ResourceType": "snapshot", "Tags": [{"Key": "gantry:point", "Value": "p1"}]}]
    made = c.ec2.create_snapshots(
        InstanceSpecification={"InstanceId": a, "ExcludeBootVolume": True}, Description="p1", CopyTagsFromSource="volume", TagSpecifications=point
    )["Snapshots"]
    return same([(s["VolumeId"], s["Description"], sorted(t["Key"] for t in s["Tags"])) for s in made], [(volume, "p1", ["Name", "gantry:point", "gantry:site"])])


@gap
def ec2_snapshots_of_an_instance_without_some(c):
    a = c.run()
    zone = c.instance(a)["Placement"]["AvailabilityZone"]
    volumes = [c.ec2.create_volume(AvailabilityZone=zone, Size=10)["VolumeId"] for _ in range(2)]
    for volume, device in zip(volumes, ("/dev/sdf", "/dev/sdg")):
        c.ec2.attach_volume(VolumeId=volume, InstanceId=a, Device=device)
    made = c.ec2.create_snapshots(InstanceSpecification={"InstanceId": a, "ExcludeBootVolume": True, "ExcludeDataVolumeIds": volumes[:1]})["Snapshots"]
    return same([s["VolumeId"] for s in made], volumes[1:])


@gap
def ec2_snapshot_fields(c):
    volume, key = disk(c)
    id = c.ec2.create_snapshot(VolumeId=volume, Description="p1", TagSpecifications=spec("snapshot"))["SnapshotId"]
    s = c.ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "tag:gantry:site", "Values": ["acme"]}])["Snapshots"]
    return same([[x.get(k) for k in ("SnapshotId", "State", "Progress", "VolumeSize", "Encrypted", "KmsKeyId", "OwnerId")] for x in s], [[id, "completed", "100%", 20, True, key, "123456789012"]])


@gap
def ec2_volume_of_a_snapshot(c):
    volume, key = disk(c)
    id = c.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    v = c.ec2.create_volume(AvailabilityZone="eu-west-1b", SnapshotId=id, VolumeType="gp3")["VolumeId"]
    v = c.ec2.describe_volumes(VolumeIds=[v])["Volumes"][0]
    return same([v.get(k) for k in ("Size", "Encrypted", "KmsKeyId", "SnapshotId")], [20, True, key, id])


@gap
def ec2_volume_smaller_than_its_snapshot(c):
    volume, _ = disk(c)
    id = c.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    return refused("InvalidParameterValue", c.ec2.create_volume, AvailabilityZone="eu-west-1b", SnapshotId=id, Size=10)


@gap
def ec2_snapshot_copy(c):
    volume, _ = disk(c)
    id = c.ec2.create_snapshot(VolumeId=volume, TagSpecifications=spec("snapshot"))["SnapshotId"]
    there = far(c)
    key = there.key()
    copy = there.ec2.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=id, Encrypted=True, KmsKeyId=key, Description="copy", TagSpecifications=spec("snapshot"))["SnapshotId"]
    s = there.ec2.describe_snapshots(SnapshotIds=[copy])["Snapshots"][0]
    return same([s.get(k) for k in ("Encrypted", "KmsKeyId", "VolumeSize", "Description")] + [len(s.get("Tags", []))], [True, key, 20, "copy", 2])


@gap
def ec2_snapshot_copy_is_of_its_region(c):
    volume, _ = disk(c)
    id = c.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    there = far(c)
    copy = there.ec2.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=id)["SnapshotId"]
    return refused("InvalidSnapshot.NotFound", c.ec2.describe_snapshots, SnapshotIds=[copy])


@gap
def ec2_snapshot_deleted_twice(c):
    volume, _ = disk(c)
    id = c.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    c.ec2.delete_snapshot(SnapshotId=id)
    return refused("InvalidSnapshot.NotFound", c.ec2.delete_snapshot, SnapshotId=id)


@gap
def ec2_snapshot_moment(c):
    volume, _ = disk(c)
    made = [c.ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _ in range(3)]
    found = c.ec2.describe_snapshots(SnapshotIds=made)["Snapshots"]
    return any(s["StartTime"].microsecond for s in found) or "whole seconds"


@gap
def ec2_snapshots_in_pages(c):
    volume, _ = disk(c)
    for _ in range(7):
        c.ec2.create_snapshot(VolumeId=volume)
    page = c.ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5)
    return same((len(page["Snapshots"]), bool(page.get("NextToken"))), (5, True))


def taken(c, **more):
    c.rds.create_db_snapshot(DBInstanceIdentifier="acme-main", DBSnapshotIdentifier="acme-p1", Tags=[{"Key": "gantry:point", "Value": "p1"}], **more)
    return c.rds.describe_db_snapshots(DBSnapshotIdentifier="acme-p1")["DBSnapshots"][0]


@gap
def rds_snapshot(c):
    _, _, key = database(c)
    s = taken(c)
    return same(
        [s.get(k) for k in ("Status", "Engine", "AllocatedStorage", "Encrypted", "KmsKeyId", "SnapshotType", "DBInstanceIdentifier", "PercentProgress")],
        ["available", "postgres", 200, True, key, "manual", "acme-main", 100],
    )


@gap
def rds_snapshot_tags(c):
    database(c)
    s = taken(c)
    return same([t["Key"] for t in s.get("TagList", [])], ["gantry:point"])


@gap
def rds_snapshot_name_taken(c):
    database(c)
    taken(c)
    return refused("DBSnapshotAlreadyExists", c.rds.create_db_snapshot, DBInstanceIdentifier="acme-main", DBSnapshotIdentifier="acme-p1")


@gap
def rds_snapshot_missing(c):
    return refused("DBSnapshotNotFound", c.rds.delete_db_snapshot, DBSnapshotIdentifier="none")


@gap
def rds_snapshot_copy(c):
    database(c)
    s = taken(c)
    there = far(c)
    key = there.key()
    there.rds.copy_db_snapshot(SourceDBSnapshotIdentifier=s["DBSnapshotArn"], TargetDBSnapshotIdentifier="acme-p1", KmsKeyId=key, CopyTags=True, SourceRegion=REGION)
    copy = there.rds.describe_db_snapshots(DBSnapshotIdentifier="acme-p1")["DBSnapshots"][0]
    return same(
        [copy.get(k) for k in ("Status", "KmsKeyId", "SourceRegion", "SourceDBSnapshotIdentifier", "AllocatedStorage")] + [len(copy.get("TagList", []))],
        ["available", key, REGION, s["DBSnapshotArn"], 200, 1],
    )


@gap
def rds_snapshot_copy_arn(c):
    database(c)
    s = taken(c)
    there = far(c)
    there.rds.copy_db_snapshot(SourceDBSnapshotIdentifier=s["DBSnapshotArn"], TargetDBSnapshotIdentifier="acme-p1", KmsKeyId=there.key(), SourceRegion=REGION)
    copy = there.rds.describe_db_snapshots(DBSnapshotIdentifier="acme-p1")["DBSnapshots"][0]
    return same(copy["DBSnapshotArn"], f"arn:aws:rds:{FAR}:123456789012:snapshot:acme-p1")


def restored(c, id="acme-new", **more):
    group, key = database(c)[1:]
    taken(c)
    c.rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier=id, DBSnapshotIdentifier="acme-p1", DBSubnetGroupName="g", VpcSecurityGroupIds=[group], **more)
    return c.rds.describe_db_instances(DBInstanceIdentifier=id)["DBInstances"][0], group, key


@gap
def rds_restore(c):
    d, group, key = restored(c)
    return same(
        [d["DBInstanceStatus"], d["Engine"], d["AllocatedStorage"], d["StorageEncrypted"], d.get("KmsKeyId"), d["DBSubnetGroup"]["DBSubnetGroupName"], [g["VpcSecurityGroupId"] for g in d["VpcSecurityGroups"]], d["DBInstanceClass"], d["MasterUsername"]],
        ["available", "postgres", 200, True, key, "g", [group], "db.m6g.large", "gitlab"],
    )


@gap
def rds_restore_endpoint(c):
    d, _, _ = restored(c)
    return same(d["Endpoint"]["Address"].startswith("acme-new."), True)


@gap
def rds_restore_class(c):
    d, _, _ = restored(c, DBInstanceClass="db.m6g.xlarge")
    return same(d["DBInstanceClass"], "db.m6g.xlarge")


@gap
def rds_restore_defaults(c):
    """What nobody named is RDS's choice and not the original's."""
    d, _, _ = restored(c)
    return same([[p["DBParameterGroupName"] for p in d["DBParameterGroups"]], d["DeletionProtection"], d["MultiAZ"], d["TagList"]], [["default.postgres17"], False, False, []])


@gap
def rds_restore_tags_and_protection(c):
    d, _, _ = restored(c, DeletionProtection=True, DBParameterGroupName="p", Tags=[{"Key": "gantry:site", "Value": "second"}])
    return same([d["DeletionProtection"], [p["DBParameterGroupName"] for p in d["DBParameterGroups"]], [t["Value"] for t in d["TagList"]]], [True, ["p"], ["second"]])


@gap
def rds_restore_event(c):
    restored(c)
    events = c.rds.describe_events(SourceType="db-instance", EventCategories=["restoration"], Duration=60)["Events"]
    return same([(e["SourceIdentifier"], e["Message"]) for e in events], [("acme-new", "Restored from snapshot acme-p1")])


@gap
def rds_resource_id(c):
    d, _, _ = restored(c)
    main = c.rds.describe_db_instances(DBInstanceIdentifier="acme-main")["DBInstances"][0]
    c.rds.modify_db_instance(DBInstanceIdentifier="acme-main", NewDBInstanceIdentifier="acme-old", ApplyImmediately=True)
    old = c.rds.describe_db_instances(DBInstanceIdentifier="acme-old")["DBInstances"][0]
    return same([main["DbiResourceId"] == d["DbiResourceId"], old["DbiResourceId"] == main["DbiResourceId"]], [False, True])


@gap
def rds_restore_name_taken(c):
    database(c)
    taken(c)
    return refused("DBInstanceAlreadyExists", c.rds.restore_db_instance_from_db_snapshot, DBInstanceIdentifier="acme-main", DBSnapshotIdentifier="acme-p1")


def in_time(c, **more):
    group, key = database(c)[1:]
    c.rds.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier="acme-main", TargetDBInstanceIdentifier="acme-then", UseLatestRestorableTime=True, DBSubnetGroupName="g", VpcSecurityGroupIds=[group], **more
    )
    return c.rds.describe_db_instances(DBInstanceIdentifier="acme-then")["DBInstances"][0], group, key


@gap
def rds_restore_in_time(c):
    d, group, key = in_time(c)
    return same(
        [d["DBInstanceStatus"], d["Engine"], d["AllocatedStorage"], d.get("KmsKeyId"), d["DBInstanceClass"], [g["VpcSecurityGroupId"] for g in d["VpcSecurityGroups"]], d["Endpoint"]["Address"].startswith("acme-then.")],
        ["available", "postgres", 200, key, "db.m6g.large", [group], True],
    )


@gap
def rds_restore_in_time_defaults(c):
    d, _, _ = in_time(c)
    return same([[p["DBParameterGroupName"] for p in d["DBParameterGroups"]], d["DeletionProtection"], d["TagList"]], [["default.postgres17"], False, []])


@gap
def rds_latest_restorable_time(c):
    database(c)
    d = c.rds.describe_db_instances(DBInstanceIdentifier="acme-main")["DBInstances"][0]
    return same("LatestRestorableTime" in d, True)


# --- data keys, locks, what is told ---------------------------------------------------------------


def data_key(c):
    key = c.key()
    made = c.kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext={"point": "p1"})
    return key, made["Plaintext"], made["CiphertextBlob"]


@gap
def kms_data_key(c):
    key, plain, blob = data_key(c)
    opened = c.kms.decrypt(CiphertextBlob=blob, EncryptionContext={"point": "p1"})
    return same((opened["Plaintext"], opened["KeyId"]), (plain, key))


@gap
def kms_decrypt_other_context(c):
    _, _, blob = data_key(c)
    return refused("InvalidCiphertextException", c.kms.decrypt, CiphertextBlob=blob, EncryptionContext={"point": "p2"})


@gap
def kms_decrypt_flipped_byte(c):
    _, _, blob = data_key(c)
    return refused("InvalidCiphertextException", c.kms.decrypt, CiphertextBlob=blob[:-1] + bytes([blob[-1] ^ 1]), EncryptionContext={"point": "p1"})


@gap
def kms_decrypt_elsewhere(c):
    _, _, blob = data_key(c)
    return refused("AccessDeniedException", far(c).kms.decrypt, CiphertextBlob=blob, EncryptionContext={"point": "p1"})


@gap
def kms_decrypt_under_disabled_key(c):
    key, _, blob = data_key(c)
    c.kms.disable_key(KeyId=key.split("/")[1])
    return refused("DisabledException", c.kms.decrypt, CiphertextBlob=blob, EncryptionContext={"point": "p1"})


@gap
def kms_data_key_under_disabled_key(c):
    key = c.key()
    c.kms.disable_key(KeyId=key.split("/")[1])
    return refused("DisabledException", c.kms.generate_data_key, KeyId=key, NumberOfBytes=32)


@gap
def kms_decrypt_under_key_that_goes(c):
    key, _, blob = data_key(c)
    c.kms.schedule_key_deletion(KeyId=key.split("/")[1], PendingWindowInDays=7)
    return refused("KMSInvalidStateException", c.kms.decrypt, CiphertextBlob=blob, EncryptionContext={"point": "p1"})


def locked(c, mode="COMPLIANCE"):
    c.s3.create_bucket(Bucket="locked", CreateBucketConfiguration={"LocationConstraint": REGION}, ObjectLockEnabledForBucket=True)
    c.s3.put_object_lock_configuration(
        Bucket="locked", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, "Days": 14}}}
    )
    return c.s3.put_object(Bucket="locked", Key="k", Body=b"v")["VersionId"]


@gap
def s3_put_once(c):
    b = bucket(c)
    c.s3.put_object(Bucket=b, Key="k", Body=b"v", IfNoneMatch="*")
    return refused("PreconditionFailed", c.s3.put_object, Bucket=b, Key="k", Body=b"w", IfNoneMatch="*")


@gap
def s3_complete_once(c):
    b = bucket(c)
    upload = c.s3.create_multipart_upload(Bucket=b, Key="k")["UploadId"]
    tag = c.s3.upload_part(Bucket=b, Key="k", UploadId=upload, PartNumber=1, Body=b"v")["ETag"]
    c.s3.put_object(Bucket=b, Key="k", Body=b"w")
    return refused("PreconditionFailed", c.s3.complete_multipart_upload, Bucket=b, Key="k", UploadId=upload, IfNoneMatch="*", MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})


@gap
def s3_lock_turns_versions_on(c):
    c.s3.create_bucket(Bucket="locked", CreateBucketConfiguration={"LocationConstraint": REGION}, ObjectLockEnabledForBucket=True)
    return same(c.s3.get_bucket_versioning(Bucket="locked").get("Status"), "Enabled")


@gap
def s3_lock_read_back(c):
    locked(c)
    got = c.s3.get_object_lock_configuration(Bucket="locked")["ObjectLockConfiguration"]
    return same(got, {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 14}}})


@gap
def s3_lock_without_versions(c):
    b = bucket(c)
    wanted = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 14}}}
    return refused("InvalidBucketState", c.s3.put_object_lock_configuration, Bucket=b, ObjectLockConfiguration=wanted)


@gap
def s3_lock_of_a_bucket_with_versions(c):
    b = bucket(c)
    c.s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    wanted = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 14}}}
    c.s3.put_object_lock_configuration(Bucket=b, ObjectLockConfiguration=wanted)
    return same(c.s3.get_object_lock_configuration(Bucket=b)["ObjectLockConfiguration"], wanted)


@gap
def s3_lock_missing(c):
    return refused("ObjectLockConfigurationNotFoundError", c.s3.get_object_lock_configuration, Bucket=bucket(c))


@gap
def s3_lock_keeps_versions_on(c):
    locked(c)
    return refused("InvalidBucketState", c.s3.put_bucket_versioning, Bucket="locked", VersioningConfiguration={"Status": "Suspended"})


@gap
def s3_lock_by_default(c):
    version = locked(c)
    kept = c.s3.get_object_retention(Bucket="locked", Key="k", VersionId=version)["Retention"]
    return same(kept["Mode"], "COMPLIANCE")


@gap
def s3_lock_holds(c):
    version = locked(c)
    return refused("AccessDenied", c.s3.delete_object, Bucket="locked", Key="k", VersionId=version)


@gap
def s3_lock_holds_against_many(c):
    version = locked(c)
    gone = c.s3.delete_objects(Bucket="locked", Delete={"Objects": [{"Key": "k", "VersionId": version}]})
    return same([e["Code"] for e in gone.get("Errors", [])], ["AccessDenied"])


@gap
def s3_lock_governance_bypassed(c):
    version = locked(c, "GOVERNANCE")
    refusal = refused("AccessDenied", c.s3.delete_object, Bucket="locked", Key="k", VersionId=version)
    c.s3.delete_object(Bucket="locked", Key="k", VersionId=version, BypassGovernanceRetention=True)
    return refusal


@gap
def s3_lock_lets_a_marker_pass(c):
    locked(c)
    return same(c.s3.delete_object(Bucket="locked", Key="k").get("DeleteMarker"), True)


@gap
def s3_copy_of_a_version(c):
    b = bucket(c)
    c.s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    first = c.s3.put_object(Bucket=b, Key="k", Body=b"v")["VersionId"]
    c.s3.put_object(Bucket=b, Key="k", Body=b"w")
    answer = c.s3.copy_object(Bucket=b, Key="k", CopySource={"Bucket": b, "Key": "k", "VersionId": first})
    got = c.s3.get_object(Bucket=b, Key="k")
    return same((got["Body"].read(), answer.get("CopySourceVersionId"), answer.get("VersionId")), (b"v", first, got["VersionId"]))


@gap
def s3_upload_part_copy(c):
    b = bucket(c)
    c.s3.put_object(Bucket=b, Key="source", Body=b"0123456789")
    upload = c.s3.create_multipart_upload(Bucket=b, Key="k")["UploadId"]
    tag = c.s3.upload_part_copy(Bucket=b, Key="k", UploadId=upload, PartNumber=1, CopySource=f"{b}/source", CopySourceRange="bytes=2-5")["CopyPartResult"]["ETag"]
    c.s3.complete_multipart_upload(Bucket=b, Key="k", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    return same(c.s3.get_object(Bucket=b, Key="k")["Body"].read(), b"2345")


@gap
def s3_complete_version(c):
    b = bucket(c)
    c.s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
    upload = c.s3.create_multipart_upload(Bucket=b, Key="k")["UploadId"]
    tag = c.s3.upload_part(Bucket=b, Key="k", UploadId=upload, PartNumber=1, Body=b"v")["ETag"]
    made = c.s3.complete_multipart_upload(Bucket=b, Key="k", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    return same(bool(made.get("VersionId")), True)


@gap
def s3_list_parts_reply(c):
    """The reply's outer element has to be `ListPartsResult`; the Rust SDK insists on it."""
    b = bucket(c)
    upload = c.s3.create_multipart_upload(Bucket=b, Key="k")["UploadId"]
    c.s3.upload_part(Bucket=b, Key="k", UploadId=upload, PartNumber=1, Body=b"v")
    raw = urllib.request.urlopen(f"{c.url}/{b}/k?uploadId={upload}").read().decode()
    return True if "<ListPartsResult" in raw else raw


@gap
def s3_lock_lets_copies_in(c):
    locked(c)
    c.s3.copy_object(Bucket="locked", Key="copy", CopySource="locked/k")
    return same(c.s3.get_object_retention(Bucket="locked", Key="copy")["Retention"]["Mode"], "COMPLIANCE")


@gap
def s3_lock_knows_digests(c):
    locked(c)
    c.s3.put_object(Bucket="locked", Key="sum", Body=b"abc", ChecksumSHA256="ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")
    return True


@gap
def s3_copy_if_match(c):
    b = bucket(c)
    tag = c.s3.put_object(Bucket=b, Key="k", Body=b"abc")["ETag"]
    copy = lambda **more: c.s3.copy_object(Bucket=b, Key="copy", CopySource={"Bucket": b, "Key": "k"}, **more)
    copy(CopySourceIfMatch=tag)
    return refused("PreconditionFailed", copy, CopySourceIfMatch='"00"')


@gap
def s3_bad_digest(c):
    """The wrong SHA-256 for the body."""
    b = bucket(c)
    return refused("BadDigest", c.s3.put_object, Bucket=b, Key="k", Body=b"abd", ChecksumSHA256="ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")


@gap
def cloudwatch_metric_data(c):
    c.cloudwatch.put_metric_data(Namespace="gantry", MetricData=[{"MetricName": "BackupAge", "Value": 3600.5, "Unit": "Seconds", "Dimensions": [{"Name": "Site", "Value": "acme"}]}])
    found = c.cloudwatch.list_metrics(Namespace="gantry")["Metrics"]
    return same([m["MetricName"] for m in found], ["BackupAge"])


@gap
def cloudwatch_metric_data_cbor(c):
    cbor(c, "PutMetricData", {"Namespace": "gantry", "MetricData": [{"MetricName": "BackupAge", "Value": 3600.5, "Unit": "Seconds", "Dimensions": [{"Name": "Site", "Value": "acme"}]}]})
    found = c.cloudwatch.list_metrics(Namespace="gantry")["Metrics"]
    return same([m["MetricName"] for m in found], ["BackupAge"])


@gap
def cloudwatch_namespace_of_aws(c):
    return refused("InvalidParameterValue", c.cloudwatch.put_metric_data, Namespace="AWS/RDS", MetricData=[{"MetricName": "BackupAge", "Value": 1}])


@gap
def sns_publish(c):
    topic = c.sns.create_topic(Name="acme")["TopicArn"]
    return same(bool(c.sns.publish(TopicArn=topic, Subject="acme", Message="p1").get("MessageId")), True)


@gap
def sns_publish_to_nobody(c):
    return refused("NotFound", c.sns.publish, TopicArn=f"arn:aws:sns:{REGION}:123456789012:nobody", Message="p1")


@gap
def dlm(c):
    return same(c.dlm.get_lifecycle_policies()["Policies"], [])


@gap
def backup_selections(c):
    c.backup.create_backup_vault(BackupVaultName="acme")
    rule = {"RuleName": "gantry", "TargetBackupVaultName": "acme"}
    plan = c.backup.create_backup_plan(BackupPlan={"BackupPlanName": "acme", "Rules": [rule]})["BackupPlanId"]
    return same(c.backup.list_backup_selections(BackupPlanId=plan)["BackupSelectionsList"], [])


@gap
def servicequotas_list(c):
    found = c.service_quotas.list_service_quotas(ServiceCode="ec2")["Quotas"]
    return same([q["Value"] > 0 for q in found if q["QuotaCode"] == "L-0263D0A3"], [True])


@gap
def servicequotas_vpc(c):
    found = c.service_quotas.list_service_quotas(ServiceCode="vpc")["Quotas"]
    return same([q["Value"] > 0 for q in found if q["QuotaCode"] == "L-F678F1CE"], [True])


@gap
def sts_identity(c):
    return same(c.sts.get_caller_identity()["Account"], "123456789012")


def answer(check, cloud):
    post(f"{cloud.url}/moto-api/reset")
    try:
        result = check(cloud)
    except (ClientError, BotoCoreError, ResponseParserError, OSError, KeyError, IndexError, TypeError) as e:
        return f"{type(e).__name__}: {e}"
    finally:
        enforce(cloud, "inf")
    return "as-aws" if result is True else str(result)


def main(url, *only):
    cloud = Cloud(url)
    print(json.dumps({id: answer(check, cloud) for id, check in GAPS.items() if not only or id in only}, indent=1), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
