"""RDS."""

from moto.core.resource_tagging import TaggedResource
from moto.core.responses import ActionResult
from moto.rds.exceptions import DBParameterGroupNotFoundError, RDSClientError
from moto.rds.models import DBInstance, RDSBackend
from moto.rds.responses import RDSResponse

from . import add, replace

# A version named by its first part means the newest one of it.
NEWEST = {"17": "17.6", "16": "16.10"}


@replace(RDSBackend, "modify_db_subnet_group")
def modify_db_subnet_group(old, self, subnet_name, description, subnets):
    """moto takes the group out of its list and does not put it back."""
    group = old(self, subnet_name, description, subnets)
    self.subnet_groups[group.name] = group
    return group


@replace(RDSBackend, "delete_subnet_group")
def delete_subnet_group(old, self, subnet_name):
    if any(getattr(getattr(d, "db_subnet_group", None), "name", None) == subnet_name for d in self.databases.values()):
        raise RDSClientError("InvalidDBSubnetGroupStateFault", f"Cannot delete the subnet group '{subnet_name}' because at least one database instance is still using it.")
    return old(self, subnet_name)


@replace(RDSBackend, "delete_db_parameter_group")
def delete_db_parameter_group(old, self, name):
    if any(d.db_parameter_group_name == name for d in self.databases.values()):
        raise RDSClientError("InvalidDBParameterGroupState", f"One or more database instances are still members of this parameter group {name}, so the group cannot be deleted")
    return old(self, name)


@add(RDSResponse)
def reset_db_parameter_group(self):
    name = self.params.get("DBParameterGroupName")
    if name not in self.backend.db_parameter_groups:
        raise DBParameterGroupNotFoundError(name)
    values = self.backend.db_parameter_groups[name].parameters
    for parameter in [p["ParameterName"] for p in self.params.get("Parameters", [])] or list(values):
        values.pop(parameter, None)
    return ActionResult({"DBParameterGroupName": name})


@replace(DBInstance, "__init__")
def instance(old, self, backend, **named):
    old(self, backend, **named)
    self.performance_insights_enabled = bool(named.get("enable_performance_insights"))
    self.performance_insights_kms_key_id = named.get("performance_insights_kms_key_id")
    self.performance_insights_retention_period = named.get("performance_insights_retention_period") or (7 if self.performance_insights_enabled else None)
    self.engine_version = NEWEST.get(self.engine_version, self.engine_version)
    # Every one has its own; moto gives all of them the same.
    self.dbi_resource_id = "db-" + self.db_instance_identifier.upper().replace("-", "")


@replace(DBInstance, "update")
def update(old, self, **named):
    old(self, **named)
    if "enable_performance_insights" in named:
        self.performance_insights_enabled = bool(named["enable_performance_insights"])


@replace(RDSBackend, "create_db_instance_read_replica")
def create_db_instance_read_replica(old, self, named):
    """moto's replica holds the very lists of its source: a change of one changes both."""
    replica = old(self, named)
    replica.enabled_cloudwatch_logs_exports = list(named.get("enable_cloudwatch_logs_exports") or [])
    replica.vpc_security_group_ids = list(replica.vpc_security_group_ids)
    replica.tags = list(replica.tags)
    replica.dbi_resource_id = "db-" + replica.db_instance_identifier.upper().replace("-", "")
    return replica


@replace(RDSBackend, "iter_tagged_resources")
def iter_tagged_resources(old, self):
    yield from old(self)
    for kind, groups in (("subgrp", self.subnet_groups), ("pg", self.db_parameter_groups)):
        for group in groups.values():
            yield TaggedResource(arn=group.arn, tags={t["Key"]: t["Value"] for t in group.get_tags()}, resource_type=f"rds:{kind}")
