"""EC2: client tokens, instances, volumes, launch templates."""

from copy import deepcopy

from moto.core.serialize import EC2Serializer, TimestampSerializer
from moto.ec2.exceptions import EC2ClientError, InvalidLaunchTemplateIdNotFound, VolumeInUseError
from moto.ec2.models.amis import Ami
from moto.ec2.models.elastic_block_store import EBSBackend, Volume
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateBackend
from moto.ec2.responses import EC2Response
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.launch_templates import LaunchTemplates
from moto.ec2.utils import parse_user_data

from . import replace

# --- client tokens --------------------------------------------------------------------------------

# The creating calls of EC2 that take one. AWS answers a repeat with the first answer, and refuses a repeat
# with other values; moto does it all again.
TOKENS = (
    "run_instances",
    "create_volume",
    "create_nat_gateway",
    "create_launch_template",
    "create_launch_template_version",
    "create_vpc_endpoint",
    "create_route_table",
    "create_flow_logs",
)


def honour_token(action):
    @replace(EC2Response, action)
    def once(old, self):
        token = self._get_param("ClientToken")
        if not token:
            return old(self)
        said = {k: v for k, v in self.data.items() if k != "ClientToken"}
        seen = self.ec2_backend.__dict__.setdefault("client_tokens", {})
        if (action, token) in seen:
            before, answer = seen[action, token]
            if before != said:
                raise EC2ClientError("IdempotentParameterMismatch", f"The client token {token} was used with other parameters.")
            return answer
        answer = old(self)
        seen[action, token] = (said, answer)
        return answer


# --- instances ------------------------------------------------------------------------------------


@replace(InstanceResponse, "run_instances")
def run_instances(old, self):
    answer = old(self)
    template = self._get_param("LaunchTemplate", {})
    wanted = self.ec2_backend._get_template_from_args(template).data if template else {}
    protect = self._get_param("DisableApiTermination", wanted.get("DisableApiTermination"))
    for instance in answer.result.instances:
        instance.disable_api_termination = bool(protect)
    return answer


@replace(InstanceResponse, "_parse_block_device_mapping")
def parse_block_device_mapping(old, self):
    mappings = old(self)
    for parsed, said in zip(mappings, self._get_param("BlockDeviceMappings", [])):
        parsed["Ebs"]["Throughput"] = said.get("Ebs", {}).get("Throughput")
    return mappings


@replace(InstanceBackend, "run_instances")
def start(old, self, image_id, count, user_data, security_group_names, **named):
    """moto takes image, type, user data, key and groups from a launch template, and leaves the rest."""
    template = named.get("launch_template")
    wanted = self._get_template_from_args(template).data if template else {}
    devices = deepcopy(named.get("block_device_mappings") or wanted.get("BlockDeviceMappings") or [])
    if devices:
        named["block_device_mappings"] = devices
    if not named.get("metadata_options"):
        named["metadata_options"] = wanted.get("MetadataOptions", {})
    tags = named.setdefault("tags", {})
    for spec in wanted.get("TagSpecifications", []):
        if spec["ResourceType"] == "volume":
            tags.setdefault("volume", {t["Key"]: t["Value"] for t in spec.get("Tags", [])})
    made = old(self, image_id or wanted.get("ImageId"), count, user_data, security_group_names, **named)
    for instance in made.instances:
        for device in devices:
            disk = self.get_volume(instance.block_device_mapping[device["DeviceName"]].volume_id)
            disk.iops = device["Ebs"].get("Iops") or disk.iops
            disk.throughput = device["Ebs"].get("Throughput") or disk.throughput
        for nic in instance.nics.values():
            # What AWS makes for an instance it takes away with it.
            nic.delete_on_termination = True
        # The groups of a node are those of its first interface, however they were named.
        instance.security_groups = list(instance.nics[0].group_set) if 0 in instance.nics else instance.security_groups
        profile = wanted.get("IamInstanceProfile")
        if profile and not named.get("iam_instance_profile_name") and not named.get("iam_instance_profile_arn"):
            self.associate_iam_instance_profile(
                instance_id=instance.id, iam_instance_profile_name=profile.get("Name"), iam_instance_profile_arn=profile.get("Arn")
            )
    return made


@replace(Instance, "terminate")
def terminate(old, self):
    for address in self.ec2_backend.addresses:
        if address.instance is self:
            self.ec2_backend.disassociate_address(association_id=address.association_id)
    if self.state == "terminated":
        return self._state
    return old(self)


@replace(InstanceResponse, "stop_instances")
def stop_instances(old, self):
    """A node that has stopped is said to have; moto says `stopping` for ever. A terminated one cannot stop."""
    before = {i: self.ec2_backend.get_instance(i).state for i in self._get_param("InstanceIds", [])}
    if "terminated" in before.values():
        raise EC2ClientError("IncorrectInstanceState", "This instance is not in a state from which it can be stopped.")
    answer = old(self)
    for row in answer.result["StoppingInstances"]:
        if before[row["InstanceId"]] == "stopped":
            row["CurrentState"] = {"Code": 80, "Name": "stopped"}
    return answer


@replace(InstanceBackend, "modify_instance_attribute")
def modify_instance_attribute(old, self, instance_id, key, value):
    if key == "instance_type" and self.get_instance(instance_id).state != "stopped":
        raise EC2ClientError("IncorrectInstanceState", f"The instance '{instance_id}' is not in the 'stopped' state.")
    return old(self, instance_id, key, value)


# --- volumes, images ------------------------------------------------------------------------------


@replace(Volume, "__init__")
def volume(old, self, *args, **named):
    old(self, *args, **named)
    if self.volume_type == "gp3" and not self.throughput:
        self.throughput = 125


@replace(EBSBackend, "attach_volume")
def attach_volume(old, self, volume_id, instance_id, device_path, delete_on_termination=False):
    attachment = self.get_volume(volume_id).attachment
    if attachment:
        raise VolumeInUseError(volume_id, attachment.instance.id)
    return old(self, volume_id, instance_id, device_path, delete_on_termination)


@replace(EBSBackend, "detach_volume")
def detach_volume(old, self, volume_id, instance_id, device_path):
    attachment = self.get_volume(volume_id).attachment
    return old(self, volume_id, instance_id or (attachment and attachment.instance.id), device_path)


@replace(EBSBackend, "create_volume")
def create_volume(old, self, size, zone_name, snapshot_id=None, **named):
    """What comes from an encrypted snapshot has its key unless another is named, and is as large at least."""
    source = self.get_snapshot(snapshot_id) if snapshot_id else None
    if source and size is not None and int(size) < source.volume.size:
        raise EC2ClientError("InvalidParameterValue", f"Volume of size {size}GB is smaller than snapshot '{snapshot_id}', expect size >= {source.volume.size}GB")
    made = old(self, size, zone_name, snapshot_id, **named)
    if source and source.encrypted and not named.get("kms_key_id"):
        made.kms_key_id = source.kms_key_id
    return made


@replace(EBSBackend, "create_snapshot")
def create_snapshot(old, self, volume_id, *args, **named):
    made = old(self, volume_id, *args, **named)
    made.kms_key_id = getattr(made.volume, "kms_key_id", None)
    return made


# AWS tells to the millisecond when a snapshot began; moto leaves out what is below a second.
EC2Serializer.DEFAULT_TIMESTAMP_FORMAT = TimestampSerializer.TIMESTAMP_FORMAT_ISO8601


@replace(ElasticBlockStore, "create_snapshots")
def create_snapshots(old, self):
    """moto leaves out no data volume, and copies no tags."""
    answer = old(self)
    without = self._get_param("InstanceSpecification", {}).get("ExcludeDataVolumeIds") or []
    for snapshot in [s for s in answer.result["Snapshots"] if s.volume_id in without]:
        self.ec2_backend.snapshots.pop(snapshot.id)
        answer.result["Snapshots"].remove(snapshot)
    if self._get_param("CopyTagsFromSource") == "volume":
        for snapshot in answer.result["Snapshots"]:
            own = {t["key"]: t["value"] for t in snapshot.get_tags()}
            copied = {t["key"]: t["value"] for t in snapshot.volume.get_tags()}
            snapshot.add_tags({**copied, **own})
    return answer


@replace(ElasticBlockStore, "describe_snapshots")
def describe_snapshots(old, self):
    """moto knows neither owners nor pages."""
    answer = old(self)
    owners = [self.current_account if o == "self" else o for o in self._get_param("OwnerIds", [])]
    found = [s for s in answer.result["Snapshots"] if not owners or s.owner_id in owners]
    start, size = int(self._get_param("NextToken") or 0), self._get_int_param("MaxResults") or 1000
    answer.result["Snapshots"] = found[start : start + size]
    if start + size < len(found):
        answer.result["NextToken"] = str(start + size)
    return answer


def root_of(self):
    """Ubuntu's image has a root of 8 GiB on gp3; moto says 15 GiB of magnetic disk for every image."""
    device = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": 8, "DeleteOnTermination": True, "VolumeType": "gp3", "Encrypted": False}
    return [{"DeviceName": self.root_device_name, "Ebs": device}]


Ami.block_device_mappings = property(root_of)


# --- launch templates -----------------------------------------------------------------------------


# moto shows the tags as they were when the template was made.
LaunchTemplate.tags = property(lambda self: self.get_tags(), lambda self, first: None)


@replace(LaunchTemplates, "create_launch_template")
def create_launch_template(old, self):
    """moto adds the template's own tags to what it starts."""
    answer = old(self)
    data = self.ec2_backend.get_launch_template(answer.result["LaunchTemplate"]["LaunchTemplateId"]).versions[0].data
    data["TagSpecifications"] = [s for s in data.get("TagSpecifications", []) if s["ResourceType"] != "launch-template"]
    return answer


@replace(LaunchTemplates, "create_launch_template_version")
def create_launch_template_version(old, self):
    """moto leaves user data unparsed here, and ignores the source version."""
    data = self.params.setdefault("LaunchTemplateData", {})
    if data.get("UserData"):
        data["UserData"] = parse_user_data(data["UserData"])
    source = self._get_param("SourceVersion")
    if source:
        named = self._get_param("LaunchTemplateName")
        template = (
            self.ec2_backend.get_launch_template_by_name(named) if named else self.ec2_backend.get_launch_template(self._get_param("LaunchTemplateId"))
        )
        self.params["LaunchTemplateData"] = {**template.get_version(source).data, **data}
    return old(self)


@replace(LaunchTemplateBackend, "describe_launch_templates")
def describe_launch_templates(old, self, template_names=None, template_ids=None, filters=None):
    for id in template_ids or []:
        if id not in self.launch_templates:
            raise InvalidLaunchTemplateIdNotFound(id)
    return old(self, template_names=template_names, template_ids=template_ids, filters=filters)


def in_pages(action, key):
    """moto cuts the list at `MaxResults` (15 when not given) and forgets the rest."""

    @replace(LaunchTemplates, action)
    def paged(old, self):
        start, size = int(self._get_param("NextToken") or 0), self._get_int_param("MaxResults") or 200
        self.params["MaxResults"] = 1_000_000
        answer = old(self)
        found = answer.result[key]
        answer.result[key] = found[start : start + size]
        answer.result["NextToken"] = str(start + size) if start + size < len(found) else None
        return answer


in_pages("describe_launch_templates", "LaunchTemplates")
in_pages("describe_launch_template_versions", "LaunchTemplateVersions")
for action in TOKENS:
    honour_token(action)
