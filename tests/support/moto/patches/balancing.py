"""Elastic Load Balancing and Auto Scaling."""

from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.elbv2.exceptions import DuplicateListenerError, DuplicateLoadBalancerName
from moto.elbv2.models import ELBv2Backend, FakeTargetGroup

from . import replace


# Where alias records to a Network Load Balancer point; https://docs.aws.amazon.com/general/latest/gr/elb.html
ZONES = {"eu-west-1": "Z2IFOLAFXWLO4F", "eu-central-1": "Z3F0SRJ5LGBH90", "us-east-1": "Z26RNL4JYFTOTI"}


class Refused(ServiceException):
    def __init__(self, code, message):
        self.code = code
        super().__init__(message)


@replace(ELBv2Backend, "create_load_balancer")
def create_load_balancer(old, self, name, security_groups, subnet_ids, **named):
    """AWS names the sort in the ARN, gives the same balancer for the same call, and keeps names unique."""
    if len(name) > 32:
        raise Refused("ValidationError", f"The load balancer name '{name}' cannot be longer than '32' characters")
    scheme = named["scheme"] = named.get("scheme") or "internet-facing"
    for there in self.load_balancers.values():
        if there.name == name:
            if there.scheme == scheme and {s.id for s in there.subnets} == set(subnet_ids):
                return there
            raise DuplicateLoadBalancerName()
    made = old(self, name, security_groups, subnet_ids, **named)
    if made.type == "network":
        tags = self.tagging_service.list_tags_for_resource(made.arn)["Tags"]
        self.tagging_service.delete_all_tags_for_resource(made.arn)
        del self.load_balancers[made.arn]
        made.arn = made.arn.replace(":loadbalancer/app/", ":loadbalancer/net/")
        made.dns_name = f"{name}-{made.arn.rsplit('/', 1)[1]}.elb.{self.region_name}.amazonaws.com"
        made.canonical_hosted_zone_id = ZONES.get(self.region_name, made.canonical_hosted_zone_id)
        self.load_balancers[made.arn] = made
        self.tagging_service.tag_resource(made.arn, tags)
    return made


@replace(ELBv2Backend, "delete_load_balancer")
def delete_load_balancer(old, self, arn):
    balancer = self.load_balancers.get(arn)
    if balancer and balancer.attrs.get("deletion_protection.enabled") == "true":
        raise Refused("OperationNotPermitted", f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled")
    for listener in list(balancer.listeners) if balancer else []:
        self.delete_listener(listener)
    return old(self, arn)


@replace(ELBv2Backend, "create_listener")
def create_listener(old, self, load_balancer_arn, protocol, port, *rest, **named):
    balancer = self.load_balancers.get(load_balancer_arn)
    if balancer and any(str(there.port) == str(port) for there in balancer.listeners.values()):
        raise DuplicateListenerError()
    listener = old(self, load_balancer_arn, protocol, port, *rest, **named)
    if listener.protocol not in ("HTTPS", "TLS"):
        listener.ssl_policy = None
    return listener


@replace(ELBv2Backend, "modify_listener")
def modify_listener(old, self, arn, port=None, protocol=None, ssl_policy=None, certificates=None, actions=None):
    """moto refuses TLS here, and leaves the certificates of everything but HTTPS."""
    listener = old(self, arn, port, None if protocol in ("TLS", "UDP", "TCP_UDP") else protocol, ssl_policy, certificates, actions)
    if protocol:
        listener.protocol = protocol
    if certificates:
        listener.certificates = [c["CertificateArn"] for c in certificates]
        listener.certificate = listener.certificates[0]
    return listener


@replace(FakeTargetGroup, "__init__")
def target_group(old, self, *args, **named):
    old(self, *args, **named)
    if self.protocol in ("TCP", "TLS", "UDP", "TCP_UDP"):
        self.attributes["proxy_protocol_v2.enabled"] = "false"
        self.attributes["preserve_client_ip.enabled"] = "true" if self.target_type == "instance" else "false"
        self.attributes["deregistration_delay.connection_termination.enabled"] = "false"


# --- Auto Scaling ---------------------------------------------------------------------------------


@replace(AutoScalingResponse, "put_scaling_policy")
def put_scaling_policy(old, self):
    """moto misspells the ARN's name, so that no client finds it."""
    answer = old(self)
    return ActionResult({"PolicyARN": answer.result["PolicyArn"], "Alarms": []})


@replace(AutoScalingBackend, "delete_policy")
def delete_policy(old, self, name):
    """The name may be an ARN."""
    return old(self, name.rsplit(":policyName/", 1)[-1])


@replace(AutoScalingBackend, "delete_auto_scaling_group")
def delete_auto_scaling_group(old, self, group_name):
    """A group takes its policies with it."""
    answer = old(self, group_name)
    for policy in [p for p in self.policies.values() if p.auto_scaling_group_name == group_name]:
        del self.policies[policy.name]
    return answer


@replace(FakeAutoScalingGroup, "replace_autoscaling_group_instances")
def spread(old, self, count_needed, propagated_tags):
    """moto puts all instances into the first subnet."""
    said = self.vpc_zone_identifier
    subnets = said.split(",") if said else [None]
    try:
        for _ in range(count_needed):
            turn = len(self.instance_states) % len(subnets)
            self.vpc_zone_identifier = ",".join(subnets[turn:] + subnets[:turn]) if said else said
            old(self, 1, dict(propagated_tags))
    finally:
        self.vpc_zone_identifier = said
