"""EC2: networks, groups, addresses, endpoints, flow logs."""

from moto.ec2.exceptions import DependencyViolationError, EC2ClientError, FlowLogAlreadyExists
from moto.ec2.models.elastic_ip_addresses import ElasticAddressBackend
from moto.ec2.models.flow_logs import FlowLogsBackend
from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.models.security_groups import SecurityGroupBackend, SecurityGroupRule
from moto.ec2.models.subnets import SubnetBackend
from moto.ec2.models.vpcs import VPCBackend, VPCEndPoint
from moto.ec2.utils import is_tag_filter, tag_filter_matches

from . import replace

# --- NAT gateways, addresses ----------------------------------------------------------------------


@replace(NatGatewayBackend, "describe_nat_gateways")
def describe_nat_gateways(old, self, filters, nat_gateway_ids):
    """moto leaves out the tag filters."""
    tag_filters = {k: v for k, v in (filters or {}).items() if is_tag_filter(k)}
    found = old(self, filters, nat_gateway_ids)
    return [nat for nat in found if all(tag_filter_matches(nat, k, v) for k, v in tag_filters.items())]


@replace(NatGatewayBackend, "delete_nat_gateway")
def delete_nat_gateway(old, self, nat_gateway_id):
    """AWS gives the address and the interface back."""
    if nat_gateway_id not in self.nat_gateways:
        raise EC2ClientError("NatGatewayNotFound", f"The Nat Gateway {nat_gateway_id} was not found")
    nat = self.nat_gateways[nat_gateway_id]
    if nat.state != "deleted":
        for address in self.addresses:
            if address.eni is nat._eni:
                self.disassociate_address(association_id=address.association_id)
        nat._eni.delete()
    return old(self, nat_gateway_id)


@replace(ElasticAddressBackend, "release_address")
def release_address(old, self, address=None, allocation_id=None):
    found = self.address_by_allocation([allocation_id]) if allocation_id else []
    if any(a.association_id for a in found):
        raise EC2ClientError("InvalidIPAddress.InUse", f"Address {found[0].public_ip} is in use.")
    return old(self, address, allocation_id)


# --- security groups ------------------------------------------------------------------------------


def rule_identity(rule):
    """What AWS tells rules apart by. moto lets the description of a group's rule count as well."""
    return (
        rule.ip_protocol,
        rule.from_port,
        rule.to_port,
        rule.ip_range.get("CidrIp"),
        rule.ip_range.get("CidrIpv6"),
        rule.source_group.get("GroupId"),
        rule.prefix_list_id,
    )


SecurityGroupRule.__eq__ = lambda self, other: rule_identity(self) == rule_identity(other)
SecurityGroupRule.description = property(lambda self: self.ip_range.get("Description") or self.source_group.get("Description"))


@replace(SecurityGroupBackend, "create_security_group")
def create_security_group(old, self, *args, **kwargs):
    """A default group lets its own members in."""
    group = old(self, *args, **kwargs)
    if group.is_default:
        own = {"GroupId": group.id, "UserId": self.account_id}
        group.ingress_rules.append(SecurityGroupRule(self, "-1", group.id, None, None, None, own, is_egress=False))
    return group


@replace(SecurityGroupBackend, "delete_security_group")
def delete_security_group(old, self, name=None, group_id=None):
    if group_id:
        others = [g for groups in self.groups.values() for g in groups.values() if g.id != group_id]
        if any(r.source_group.get("GroupId") == group_id for g in others for r in g.ingress_rules + g.egress_rules):
            raise DependencyViolationError(f"resource {group_id} has a dependent object")
        if any(group_id in {g.id for g in eni.group_set} for eni in self.enis.values()):
            raise DependencyViolationError(f"resource {group_id} has a dependent object")
        if any(group_id in (e.security_group_ids or []) for e in self.vpc_end_points.values()):
            raise DependencyViolationError(f"resource {group_id} has a dependent object")
    return old(self, name, group_id)


@replace(SubnetBackend, "delete_subnet")
def delete_subnet(old, self, subnet_id):
    if any(eni.subnet.id == subnet_id for eni in self.enis.values()) or any(
        subnet_id in (e.subnet_ids or []) for e in self.vpc_end_points.values()
    ):
        raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
    return old(self, subnet_id)


# --- endpoints, flow logs -------------------------------------------------------------------------


@replace(VPCEndPoint, "__init__")
def vpc_endpoint(old, self, *args, **kwargs):
    old(self, *args, **kwargs)
    self.vpc_endpoint_type = self.vpc_endpoint_type or "Gateway"


@replace(VPCEndPoint, "get_filter_value")
def vpc_endpoint_filter(old, self, filter_name, method_name=None):
    own = {"vpc-endpoint-id": self.id, "vpc-id": self.vpc_id, "service-name": self.service_name}
    return own[filter_name] if filter_name in own else old(self, filter_name, method_name)


@replace(VPCBackend, "delete_vpc_endpoints")
def delete_vpc_endpoints(old, self, vpce_ids=None):
    """moto keeps the row for ever as `deleted`, and lists it; AWS forgets it."""
    answer = old(self, vpce_ids)
    for id in vpce_ids or []:
        self.vpc_end_points.pop(id, None)
    return answer


@replace(FlowLogsBackend, "create_flow_logs")
def create_flow_logs(old, self, log_destination=None, log_destination_type=None, **named):
    """moto takes `bucket/prefix` for the bucket's name."""
    bucket, _, prefix = (log_destination or "").partition("/")
    if log_destination_type != "s3" or not prefix:
        return old(self, log_destination=log_destination, log_destination_type=log_destination_type, **named)
    taken = {(log.resource_id, log.log_destination) for log in self.flow_logs.values()}
    if any((id, log_destination) in taken for id in named["resource_ids"]):
        raise FlowLogAlreadyExists()
    made, failed = old(self, log_destination=bucket, log_destination_type=log_destination_type, **named)
    for log in made:
        log.log_destination = log_destination
    return made, failed
