"""RDS."""

from moto.core.resource_tagging import TaggedResource
from moto.core.responses import ActionResult
from moto.moto_api._internal import mock_random
from moto.rds.exceptions import DBParameterGroupNotFoundError, RDSClientError
from moto.rds.models import DBInstance, DBSnapshot, Event, RDSBackend
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


def resource_id():
    """Every instance has its own, whatever it is called then; moto gives all of them the same."""
    return "db-" + mock_random.uuid4().hex[:26].upper()


@replace(DBInstance, "__init__")
def instance(old, self, backend, **named):
    old(self, backend, **named)
    self.performance_insights_enabled = bool(named.get("enable_performance_insights"))
    self.performance_insights_kms_key_id = named.get("performance_insights_kms_key_id")
    self.performance_insights_retention_period = named.get("performance_insights_retention_period") or (7 if self.performance_insights_enabled else None)
    self.engine_version = NEWEST.get(self.engine_version, self.engine_version)
    self.dbi_resource_id = resource_id()


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
    replica.dbi_resource_id = resource_id()
    return replica


DBSnapshot.percent_progress = 100


@replace(RDSBackend, "copy_db_snapshot")
def copy_db_snapshot(old, self, source_db_snapshot_identifier, *args, **named):
    """moto does not say where a copy comes from."""
    copy = old(self, source_db_snapshot_identifier, *args, **named)
    copy.source_db_snapshot_identifier = source_db_snapshot_identifier
    parts = source_db_snapshot_identifier.split(":")
    if len(parts) > 3 and parts[3] != self.region_name:
        copy.source_region = parts[3]
    return copy


def with_defaults(said, like):
    """What nobody named is RDS's choice and not the original's; moto keeps what the original has."""
    major = like.engine_version.split(".")[0]
    defaults = {
        "db_parameter_group_name": f"default.{like.engine}{major}",
        "deletion_protection": False,
        "multi_az": False,
        "tags": [],
        "enable_cloudwatch_logs_exports": [],
        "copy_tags_to_snapshot": False,
    }
    return {key: said[key] if said.get(key) else value for key, value in defaults.items()}


def settle(made, values):
    made.db_parameter_group_name = values["db_parameter_group_name"]
    made.deletion_protection = values["deletion_protection"]
    made.multi_az = values["multi_az"]
    made.tags = list(values["tags"])
    made.enabled_cloudwatch_logs_exports = list(values["enable_cloudwatch_logs_exports"])
    made.copy_tags_to_snapshot = values["copy_tags_to_snapshot"]
    return made


@replace(RDSBackend, "restore_db_instance_from_db_snapshot")
def restore_db_instance_from_db_snapshot(old, self, from_snapshot_id, overrides):
    said = dict(overrides)
    made = old(self, from_snapshot_id, overrides)
    event = Event("DB_INSTANCE_CREATE", made)
    event.message, event.event_categories = f"Restored from snapshot {from_snapshot_id.split(':')[-1]}", ["restoration"]
    self.events.append(event)
    return settle(made, with_defaults(said, made))


@replace(RDSBackend, "describe_events")
def describe_events(old, self, event_categories=None, **named):
    """moto ignores the categories."""
    return [e for e in old(self, **named) if not event_categories or set(event_categories) & set(e.event_categories)]


@replace(RDSBackend, "restore_db_instance_to_point_in_time")
def restore_db_instance_to_point_in_time(old, self, source_db_identifier, target_db_identifier, overrides):
    said = dict(overrides)
    made = old(self, source_db_identifier, target_db_identifier, overrides)
    return settle(made, with_defaults(said, made))


@replace(RDSBackend, "iter_tagged_resources")
def iter_tagged_resources(old, self):
    yield from old(self)
    for kind, groups in (("subgrp", self.subnet_groups), ("pg", self.db_parameter_groups)):
        for group in groups.values():
            yield TaggedResource(arn=group.arn, tags={t["Key"]: t["Value"] for t in group.get_tags()}, resource_type=f"rds:{kind}")
