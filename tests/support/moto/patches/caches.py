"""ElastiCache: parameter groups, members, replica counts; and removal that removes."""

import re

from moto.core.resource_tagging import TaggedResource
from moto.core.responses import ActionResult, EmptyResult
from moto.elasticache.exceptions import ElastiCacheException
from moto.elasticache.models import CacheSubnetGroup, ElastiCacheBackend
from moto.elasticache.responses import ElastiCacheResponse

from . import add, replace

# What DescribeCacheEngineVersions and the members answer when asked for the first two parts.
FULL_VERSION = {"7.2": "7.2.6", "8.0": "8.0.1"}


class Refused(ElastiCacheException):
    def __init__(self, code, message):
        self.code = code
        super().__init__(message)


@replace(ElastiCacheBackend, "__init__")
def backend(old, self, *args, **named):
    """Tags of parameter groups, too."""
    old(self, *args, **named)
    self.arn_regex = re.compile("arn:aws:elasticache:.*:.*:(cluster|snapshot|user|subnetgroup|replicationgroup|parametergroup):.*$")


# --- parameter groups: absent in moto -------------------------------------------------------------


def parameter_groups(self):
    return self.elasticache_backend.__dict__.setdefault("cache_parameter_groups", {})


def parameter_group(self):
    name = self._get_param("CacheParameterGroupName")
    if name not in parameter_groups(self):
        raise Refused("CacheParameterGroupNotFound", f"CacheParameterGroup {name} not found.")
    return parameter_groups(self)[name]


@add(ElastiCacheResponse)
def create_cache_parameter_group(self):
    name = self._get_param("CacheParameterGroupName")
    if name in parameter_groups(self):
        raise Refused("CacheParameterGroupAlreadyExists", f"CacheParameterGroup {name} already exists.")
    group = {
        "CacheParameterGroupName": name,
        "CacheParameterGroupFamily": self._get_param("CacheParameterGroupFamily"),
        "Description": self._get_param("Description"),
        "ARN": f"arn:aws:elasticache:{self.region}:{self.current_account}:parametergroup:{name}",
        "values": {},
    }
    parameter_groups(self)[name] = group
    self.elasticache_backend.tagging_service.tag_resource(group["ARN"], self._get_param("Tags", []))
    return ActionResult({"CacheParameterGroup": group})


@add(ElastiCacheResponse)
def describe_cache_parameter_groups(self):
    named = self._get_param("CacheParameterGroupName")
    return ActionResult({"CacheParameterGroups": [parameter_group(self)] if named else list(parameter_groups(self).values())})


@add(ElastiCacheResponse)
def modify_cache_parameter_group(self):
    group = parameter_group(self)
    for said in self._get_param("ParameterNameValues", []):
        group["values"][said["ParameterName"]] = said["ParameterValue"]
    return ActionResult({"CacheParameterGroupName": group["CacheParameterGroupName"]})


@add(ElastiCacheResponse)
def reset_cache_parameter_group(self):
    group = parameter_group(self)
    for name in [p["ParameterName"] for p in self._get_param("ParameterNameValues", [])] or list(group["values"]):
        group["values"].pop(name, None)
    return ActionResult({"CacheParameterGroupName": group["CacheParameterGroupName"]})


@add(ElastiCacheResponse)
def describe_cache_parameters(self):
    values = parameter_group(self)["values"]
    found = [{"ParameterName": k, "ParameterValue": v, "Source": "user", "IsModifiable": True} for k, v in sorted(values.items())]
    return ActionResult({"Parameters": found if self._get_param("Source") in (None, "user") else []})


@add(ElastiCacheResponse)
def delete_cache_parameter_group(self):
    name = parameter_group(self)["CacheParameterGroupName"]
    if any(g.cache_parameter_group_name == name for g in self.elasticache_backend.replication_groups.values()):
        raise Refused("InvalidCacheParameterGroupState", f"One or more cache clusters are still members of this parameter group {name}.")
    del parameter_groups(self)[name]
    return EmptyResult()


# --- subnet groups --------------------------------------------------------------------------------


@add(ElastiCacheResponse)
def modify_cache_subnet_group(self):
    backend = self.elasticache_backend
    group = backend.describe_cache_subnet_groups(self._get_param("CacheSubnetGroupName"))[0]
    group.cache_subnet_group_description = self._get_param("CacheSubnetGroupDescription") or group.cache_subnet_group_description
    if self._get_param("SubnetIds"):
        other = CacheSubnetGroup(self.current_account, self.region, group.cache_subnet_group_name, "", self._get_param("SubnetIds"), None)
        group.subnets, group.subnet_ids, group.vpc_id = other.subnets, other.subnet_ids, other.vpc_id
    return ActionResult({"CacheSubnetGroup": group})


@add(ElastiCacheResponse)
def delete_cache_subnet_group(self):
    backend = self.elasticache_backend
    name = backend.describe_cache_subnet_groups(self._get_param("CacheSubnetGroupName"))[0].cache_subnet_group_name
    if any(g.cache_subnet_group_name == name for g in backend.replication_groups.values()):
        raise Refused("CacheSubnetGroupInUse", f"Cache subnet group {name} is currently in use by a cache cluster.")
    del backend.cache_subnet_groups[name]
    return EmptyResult()


# --- replication groups ---------------------------------------------------------------------------


def resize(group, members):
    """moto makes one member whatever it is asked for."""
    node_group = group.node_groups[0]
    domain = node_group["primary_endpoint_address"].removeprefix("master.")
    region = group.arn.split(":")[3]
    node_group["reader_endpoint"] = {"address": node_group["reader_endpoint_address"], "port": group.port}
    group.member_clusters = [f"{group.replication_group_id}-{n:03}" for n in range(1, members + 1)]
    node_group["node_group_members"] = [
        {
            "cache_cluster_id": id,
            "cache_node_id": "0001",
            "read_endpoint": {"address": f"{id}.{domain}", "port": group.port},
            "preferred_availability_zone": region + "abc"[n % 3],
            "current_role": "replica" if n else "primary",
        }
        for n, id in enumerate(group.member_clusters)
    ]


@replace(ElastiCacheBackend, "create_replication_group")
def create_replication_group(old, self, **named):
    group = old(self, **named)
    resize(group, named.get("num_cache_clusters") or (named.get("replicas_per_node_group") or 0) + 1)
    return group


@replace(ElastiCacheResponse, "modify_replication_group")
def modify_replication_group(old, self):
    """moto changes the node type and the retention, and leaves the rest."""
    answer = old(self)
    group = answer.result["ReplicationGroup"]
    for parameter, attribute in {
        "SnapshotWindow": "snapshot_window",
        "PreferredMaintenanceWindow": "preferred_maintenance_window",
        "CacheParameterGroupName": "cache_parameter_group_name",
        "SecurityGroupIds": "security_group_ids",
        "EngineVersion": "engine_version",
        "AutoMinorVersionUpgrade": "auto_minor_version_upgrade",
        "TransitEncryptionMode": "transit_encryption_mode",
    }.items():
        if self._get_param(parameter) is not None:
            setattr(group, attribute, self._get_param(parameter))
    return answer


def change_replicas(self):
    group = self.elasticache_backend.describe_replication_groups(self._get_param("ReplicationGroupId"))[0]
    resize(group, self._get_int_param("NewReplicaCount") + 1)
    return ActionResult({"ReplicationGroup": group})


ElastiCacheResponse.increase_replica_count = change_replicas
ElastiCacheResponse.decrease_replica_count = change_replicas


@replace(ElastiCacheBackend, "delete_replication_group")
def delete_replication_group(old, self, replication_group_id, retain_primary_cluster):
    """moto keeps it as `deleting` for ever."""
    group = old(self, replication_group_id, retain_primary_cluster)
    del self.replication_groups[replication_group_id]
    return group


def member(group, node):
    parameters = group.cache_parameter_group_name or f"default.{group.engine}{(group.engine_version or '7').split('.')[0]}"
    return {
        "CacheClusterId": node["cache_cluster_id"],
        "ARN": group.arn.replace(":replicationgroup:", ":cluster:").replace(group.replication_group_id, node["cache_cluster_id"]),
        "CacheClusterStatus": "available",
        "CacheNodeType": group.cache_node_type,
        "Engine": group.engine,
        "EngineVersion": FULL_VERSION.get(group.engine_version, group.engine_version),
        "NumCacheNodes": 1,
        "PreferredAvailabilityZone": node["preferred_availability_zone"],
        "PreferredMaintenanceWindow": group.preferred_maintenance_window,
        "CacheSubnetGroupName": group.cache_subnet_group_name,
        "CacheParameterGroup": {"CacheParameterGroupName": parameters, "ParameterApplyStatus": "in-sync"},
        "SecurityGroups": [{"SecurityGroupId": g, "Status": "active"} for g in group.security_group_ids or []],
        "AutoMinorVersionUpgrade": group.auto_minor_version_upgrade in (True, "true"),
        "ReplicationGroupId": group.replication_group_id,
        "SnapshotRetentionLimit": group.snapshot_retention_limit,
        "SnapshotWindow": group.snapshot_window,
        "AuthTokenEnabled": group.auth_token_enabled,
        "TransitEncryptionEnabled": group.transit_encryption_enabled,
        "AtRestEncryptionEnabled": group.at_rest_encryption_enabled,
    }


@replace(ElastiCacheResponse, "describe_cache_clusters")
def describe_cache_clusters(old, self):
    """moto does not list the members of replication groups."""
    groups = self.elasticache_backend.replication_groups.values()
    members = [member(g, n) for g in groups for n in g.node_groups[0]["node_group_members"]]
    named = self._get_param("CacheClusterId")
    if named is None:
        answer = old(self)
        answer.result["CacheClusters"] = list(answer.result["CacheClusters"]) + members
        return answer
    mine = [m for m in members if m["CacheClusterId"] == named]
    return ActionResult({"CacheClusters": mine}) if mine else old(self)


@replace(ElastiCacheBackend, "iter_tagged_resources")
def iter_tagged_resources(old, self):
    yield from old(self)
    for group in self.__dict__.get("cache_parameter_groups", {}).values():
        tags = self.tagging_service.get_tag_dict_for_resource(group["ARN"])
        yield TaggedResource(arn=group["ARN"], tags=tags, resource_type="elasticache:parametergroup")


