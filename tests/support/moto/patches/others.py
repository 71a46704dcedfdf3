"""S3, certificates, DNS, the tagging API, quotas; and CloudWatch's second protocol."""

import json
import re
from fnmatch import fnmatchcase
from urllib.parse import unquote

import cbor2
import xmltodict

from moto.acm.models import AWSCertificateManagerBackend, CertBundle
from moto.cloudwatch import urls as cloudwatch_urls
from moto.cloudwatch.exceptions import InvalidParameterValue
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core import serialize
from moto.core.exceptions import AWSError
from moto.core.resource_tagging import TaggedResource
from moto.ec2.models import EC2Backend
from moto.elbv2.models import ELBv2Backend, elbv2_backends
from moto.resourcegroupstaggingapi.models import ResourceGroupsTaggingAPIBackend
from moto.route53.exceptions import Route53ClientError
from moto.route53.models import ChangeList, Route53Backend, route53_backends
from moto.s3.exceptions import PreconditionFailed, S3ClientError
from moto.s3.models import FakeBucket, S3Backend
from moto.s3.responses import S3Response
from moto.servicequotas.responses import ServiceQuotasResponse

from . import add, replace

# --- S3 -------------------------------------------------------------------------------------------


@replace(S3Response, "get_bucket_versioning")
def get_bucket_versioning(old, self):
    """moto names the outer element after the action."""
    status, headers, body = old(self)
    return status, headers, body.replace("GetBucketVersioningResponse", "VersioningConfiguration")


@replace(FakeBucket, "__init__")
def bucket(old, self, *args, **named):
    """What AWS gives every new bucket since 2023."""
    old(self, *args, **named)
    self.encryption = {"Rule": {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": "false"}}
    self.ownership_rule = "BucketOwnerEnforced"


@replace(FakeBucket, "_log_permissions_enabled_policy")
def may_deliver(old, self, target_bucket, target_prefix):
    """moto fails on a principal that is no service, and compares resources letter by letter."""
    key = f"arn:{target_bucket.partition}:s3:::{target_bucket.name}/{target_prefix or ''}x"
    for statement in json.loads(target_bucket.policy or b'{"Statement": []}')["Statement"]:
        principal = statement.get("Principal")
        service = principal.get("Service") if isinstance(principal, dict) else None
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        if statement["Effect"] == "Allow" and service == "logging.s3.amazonaws.com" and any(fnmatchcase(key, r) for r in resources):
            return True
    return False


@replace(S3Response, "_bucket_response_put")
def put_bucket(old, self, request, bucket_name, querystring):
    """moto drops the tags of a new bucket."""
    answer = old(self, request, bucket_name, querystring)
    if not querystring and b"<Tags>" in (self.body or b""):
        tags = xmltodict.parse(self.body, force_list=("Tag",))["CreateBucketConfiguration"]["Tags"]["Tag"]
        self.backend.put_bucket_tagging(bucket_name, {t["Key"]: t["Value"] or "" for t in tags})
    return answer


@replace(S3Response, "all_buckets")
def all_buckets(old, self):
    """moto leaves the region out of the listing."""
    status, headers, body = old(self)

    def with_region(match):
        name = re.search("<Name>(.*?)</Name>", match[1])[1]
        return f"<Bucket>{match[1]}<BucketRegion>{self.backend.get_bucket(name).region_name}</BucketRegion></Bucket>"

    return status, headers, re.sub("<Bucket>(.*?)</Bucket>", with_region, body, flags=re.DOTALL)


class BucketState(S3ClientError):
    code = 409

    def __init__(self, message):
        super().__init__("InvalidBucketState", message)


@replace(S3Backend, "put_bucket_versioning")
def put_bucket_versioning(old, self, bucket_name, status):
    if status == "Suspended" and self.get_bucket(bucket_name).object_lock_enabled:
        raise BucketState("An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.")
    return old(self, bucket_name, status)


@replace(S3Response, "get_object_lock_configuration")
def get_object_lock_configuration(old, self):
    """moto shows days and years, and AWS only the one that was set."""
    status, headers, body = old(self)
    return status, headers, re.sub("<(Days|Years)>0</(Days|Years)>", "", body)


@replace(S3Response, "_key_response_get")
def key_get(old, self, query, key_name):
    """moto keeps a retention and does not show it."""
    if "retention" not in query:
        return old(self, query, key_name)
    key = self.backend.head_object(self.bucket_name, key_name, version_id=self._get_param("versionId"))
    if key is None or not key.lock_mode:
        raise NoRetention()
    body = f"<Retention><Mode>{key.lock_mode}</Mode><RetainUntilDate>{key.lock_until}</RetainUntilDate></Retention>"
    return 200, {"content-type": "application/xml"}, body


def check_source(self):
    """moto copies whatever is there, and not only what has the tag that was named."""
    wanted = self.headers.get("x-amz-copy-source-if-match")
    path, _, version = self.headers.get("x-amz-copy-source", "").lstrip("/").partition("?versionId=")
    bucket, _, key = unquote(path).partition("/")
    source = self.backend.head_object(bucket, key, version_id=version or None) if wanted else None
    if source and source.etag != wanted:
        raise PreconditionFailed("x-amz-copy-source-If-Match")


@replace(S3Response, "_key_response_put")
def key_put(old, self, query, key_name):
    """moto wants to be told the algorithm of a digest on the way into a locked bucket, and of a copy too."""
    check_source(self)
    told = "x-amz-sdk-checksum-algorithm"
    sums = [h[len("x-amz-checksum-") :].upper() for h in dict(self.headers) if h.lower().startswith("x-amz-checksum-")]
    copies = "x-amz-copy-source" in self.headers
    if (sums or copies) and not self.headers.get(told) and self.backend.get_bucket(self.bucket_name).has_default_lock:
        self.headers.environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = sums[0] if sums else "CRC32"
    return old(self, query, key_name)


@replace(S3Response, "list_parts")
def list_parts(old, self):
    """moto names the outer element after the action."""
    status, headers, body = old(self)
    return status, headers, body.replace("ListPartsResponse", "ListPartsResult")


class NoRetention(S3ClientError):
    code = 404

    def __init__(self):
        super().__init__("NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration")


# --- certificates, DNS ----------------------------------------------------------------------------


def records(account, name, kind):
    """The records of this name and type in all zones of the account."""
    name = name.rstrip(".") + "."
    backend = route53_backends[account]["aws"]
    return [r for z in backend.zones.values() for r in z.rrsets if (r.name.rstrip(".") + ".", r.type) == (name, kind)]


@replace(CertBundle, "check")
def check(old, self):
    """moto issues a certificate after a while; AWS when the record that proves the domain is there."""
    if self.status == "PENDING_VALIDATION":
        account = self.arn.split(":")[4]
        options = old_describe(self)["Certificate"].get("DomainValidationOptions", [])
        proofs = [o["ResourceRecord"] for o in options if "ResourceRecord" in o]
        if not all(records(account, proof["Name"], proof["Type"]) for proof in proofs):
            return
    old(self)


old_describe = CertBundle.describe


class CertificateInUse(AWSError):
    TYPE = "ResourceInUseException"


@replace(AWSCertificateManagerBackend, "delete_certificate")
def delete_certificate(old, self, arn):
    balancers = elbv2_backends[self.account_id][self.region_name].load_balancers.values()
    if any(arn == listener.certificate for b in balancers for listener in b.listeners.values()):
        raise CertificateInUse(f"Certificate {arn} in account {self.account_id} is in use.")
    return old(self, arn)


@replace(Route53Backend, "change_resource_record_sets")
def change_resource_record_sets(old, self, zoneid, change_list):
    """moto compares with the changes asked for before, letter by letter, and not with the records there are."""
    zone = self.get_hosted_zone(zoneid)
    for change in change_list:
        said = change["ResourceRecordSet"]
        name = said["Name"].rstrip(".") + "."
        there = [r for r in zone.rrsets if (r.name.rstrip(".") + ".", r.type) == (name, said["Type"])]
        if change["Action"] == "CREATE" and there:
            raise Route53ClientError("InvalidChangeBatch", f"[Tried to create resource record set [name='{name}', type='{said['Type']}'] but it already exists]")
        if change["Action"] == "DELETE" and not there:
            raise Route53ClientError("InvalidChangeBatch", f"[Tried to delete resource record set [name='{name}', type='{said['Type']}'] but it was not found]")
    zone.rr_changes.clear()
    return old(self, zoneid, change_list)


# Checked above, against the records.
ChangeList.has_insert_or_update = lambda self, record: True


# --- tagging API ----------------------------------------------------------------------------------


@replace(EC2Backend, "iter_tagged_resources")
def ec2_tagged(old, self):
    yield from old(self)
    more = {"elastic-ip": self.addresses, "vpc-endpoint": self.vpc_end_points.values(), "launch-template": self.launch_templates.values()}
    for kind, things in more.items():
        for thing in things:
            arn = f"arn:{self.partition}:ec2:{self.region_name}:{self.account_id}:{kind}/{thing.id}"
            yield TaggedResource(arn=arn, tags=dict(self.tags.get(thing.id, {})), resource_type=f"ec2:{kind}")


@replace(ELBv2Backend, "iter_tagged_resources")
def elb_tagged(old, self):
    yield from old(self)
    for balancer in self.load_balancers.values():
        for listener in balancer.listeners.values():
            tags = self.tagging_service.get_tag_dict_for_resource(listener.arn)
            yield TaggedResource(arn=listener.arn, tags=tags, resource_type="elasticloadbalancing:listener")


@replace(ResourceGroupsTaggingAPIBackend, "get_resources")
def get_resources(old, self, tags_per_page=None, **named):
    """moto cuts a page after 100 tags, whatever page size was asked for."""
    return old(self, tags_per_page=10**9, **named)


# --- quotas: only the VPC's defaults in moto ------------------------------------------------------

# Service, code, name, value: AWS's defaults, except where they would be too small for the largest profile,
# as its operator would have asked for more.
QUOTAS = (
    ("ec2", "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 10_000),
    ("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", 20),
    ("vpc", "L-F678F1CE", "VPCs per Region", 20),
    ("vpc", "L-A4707A72", "Internet gateways per Region", 20),
    ("vpc", "L-FE5A380F", "NAT gateways per Availability Zone", 5),
    ("vpc", "L-0EA8095F", "Inbound or outbound rules per security group", 60),
    ("vpc", "L-2AFB9258", "Security groups per network interface", 5),
    ("vpc", "L-E79EC296", "VPC security groups per Region", 2500),
    ("elasticloadbalancing", "L-69A177A2", "Network Load Balancers per Region", 50),
    ("rds", "L-7B6409FD", "DB instances", 40),
    ("elasticache", "L-DFE45DF3", "Nodes per Region", 300),
    ("s3", "L-DC2B2D3D", "General purpose buckets", 10_000),
)


def quotas_of(service):
    return [
        {"ServiceCode": s, "QuotaCode": code, "QuotaName": name, "Value": float(value), "Adjustable": True}
        for s, code, name, value in QUOTAS
        if s == service
    ]


@add(ServiceQuotasResponse)
def list_service_quotas(self):
    return json.dumps({"Quotas": quotas_of(json.loads(self.body)["ServiceCode"])})


@replace(ServiceQuotasResponse, "get_service_quota")
def get_service_quota(old, self):
    said = json.loads(self.body)
    found = [q for q in quotas_of(said["ServiceCode"]) if q["QuotaCode"] == said["QuotaCode"]]
    return json.dumps({"Quota": found[0]}) if found else old(self)


# --- CloudWatch: Smithy RPC v2 over CBOR, the only protocol the Rust SDK speaks to it --------------

OPERATION = "/service/GraniteServiceVersion20100801/operation/"
CBOR = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}


class CborSerializer(serialize.JSONSerializer):
    """moto's JSON answer with CBOR's types: tagged times, floating numbers where the model says so."""

    def _serialize_type_timestamp(self, serialized, value, shape, key):
        super()._serialize_type_timestamp(serialized, value, shape, key)
        name = self.get_serialized_name(shape, key)
        serialized[name] = cbor2.CBORTag(1, float(serialized[name]))

    def _serialize_type_double(self, serialized, value, shape, key):
        self._default_serialize(serialized, float(value), shape, key)

    def _serialize_body(self, body):
        return cbor2.dumps(body)

    def _get_protocol_specific_content_type(self):
        return CBOR["Content-Type"]


serialize.SERIALIZERS["cbor"] = CborSerializer
cloudwatch_urls.url_paths["{0}" + OPERATION + "(?P<operation>[^/]+)$"] = CloudWatchResponse.dispatch


@replace(CloudWatchResponse, "setup_class")
def setup_class(old, self, request, *rest, **named):
    self.cbor = request.path.startswith(OPERATION)
    old(self, request, *rest, use_raw_body=self.cbor or None, **named)
    if self.cbor:
        self.response_headers.update(CBOR)


@replace(CloudWatchResponse, "put_metric_data")
def put_metric_data(old, self):
    if self._get_param("Namespace").startswith("AWS/"):
        raise InvalidParameterValue("The value AWS/ for parameter Namespace is invalid.")
    return old(self)


@replace(CloudWatchResponse, "_get_action")
def get_action(old, self):
    return self.normalized_request.path.rsplit("/", 1)[-1] if self.cbor else old(self)


@replace(CloudWatchResponse, "parse_parameters")
def parse_parameters(old, self, request):
    if not self.cbor:
        return old(self, request)
    self.params = cbor2.loads(request.data) if request.data else {}


@replace(CloudWatchResponse, "determine_response_protocol")
def determine_response_protocol(old, self, service_model):
    return "cbor" if self.cbor else old(self, service_model)
