"""IAM, KMS, Secrets Manager; and the enforcement of IAM policies."""

import json

import cbor2
import raw
from werkzeug.exceptions import HTTPException

from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError
from moto.core.utils import get_service_model
from moto.core.responses import ActionResult
from moto.iam.access_control import IAMPolicyStatement, IAMRequestBase, PermissionResult
from moto.iam.responses import IamResponse
from moto.core.exceptions import JsonRESTError
from moto.kms import models as kms_models
from moto.kms import responses as kms
from moto.s3 import responses as s3
from moto.secretsmanager.exceptions import InvalidRequestException
from moto.secretsmanager.models import SecretsManagerBackend

from . import add, replace


@add(IamResponse)
def list_instance_profile_tags(self):
    profile = self.backend.get_instance_profile(self._get_param("InstanceProfileName"))
    return ActionResult({"Tags": profile.tags, "IsTruncated": False})


@replace(IamResponse, "list_instance_profiles")
def list_instance_profiles(old, self):
    """moto ignores the prefix; and AWS shows no tags in this listing."""
    prefix = self._get_param("PathPrefix") or "/"
    profiles = [p for p in old(self).result["InstanceProfiles"] if p.path.startswith(prefix)]
    shown = ("instance_profile_id", "instance_profile_name", "path", "arn", "create_date", "roles")
    rows = [{attribute: getattr(p, attribute, None) for attribute in shown} for p in profiles]
    for row, profile in zip(rows, profiles):
        row["instance_profile_id"], row["instance_profile_name"] = profile.id, profile.name
    return ActionResult({"InstanceProfiles": rows, "IsTruncated": False})


# `default` is the only policy a key has; its name may be left out.
only_default = kms._assert_default_policy
kms._assert_default_policy = lambda name: only_default(name or "default")


# moto's keys work whatever state they are in.
STATES = {"Disabled": "DisabledException", "PendingDeletion": "KMSInvalidStateException"}


def check_state(key):
    if key.key_state in STATES:
        raise JsonRESTError(STATES[key.key_state], f"{key.arn} is {key.key_state}.")


@replace(kms_models.KmsBackend, "decrypt")
def decrypt(old, self, ciphertext_blob, encryption_context, key_id=None):
    answer = old(self, ciphertext_blob, encryption_context, key_id)
    check_state(next(k for k in self.keys.values() if k.arn == answer[1]))
    return answer


@replace(kms_models.KmsBackend, "generate_data_key")
def generate_data_key(old, self, key_id, *args, **named):
    check_state(self.keys[self.any_id_to_key_id(key_id)])
    return old(self, key_id, *args, **named)


@replace(SecretsManagerBackend, "create_secret")
def create_secret(old, self, name, *rest, **named):
    secret = self.secrets.get(name)
    if secret and secret.is_deleted():
        raise InvalidRequestException("You can't create this secret because a secret with this name is already scheduled for deletion.")
    return old(self, name, *rest, **named)


# --- enforcement ----------------------------------------------------------------------------------

# Services whose policies say another word than their signatures.
PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}

# moto takes these for the creation or listing of a bucket.
for method, verb in (("GET", "Get"), ("PUT", "Put"), ("DELETE", "Put")):
    s3.ACTION_MAP["BUCKET"][method].update(
        {
            "encryption": f"{verb}EncryptionConfiguration",
            "publicAccessBlock": f"{verb}BucketPublicAccessBlock",
            "ownershipControls": f"{verb}BucketOwnershipControls",
            "object-lock": f"{verb}BucketObjectLockConfiguration",
        }
    )
s3.ACTION_MAP["BUCKET"]["HEAD"]["DEFAULT"] = "ListBucket"


@replace(IAMRequestBase, "check_action_permitted")
def check_action_permitted(old, self, resource):
    service, action = self._action.split(":")
    self._action = f"{PREFIXES.get(service, service)}:{action}"
    return old(self, resource)


@replace(IAMRequestBase, "_create_aws_request")
def signed_request(old, self):
    """Without a body moto signs the headers in its place, and it writes a form anew, with other marks for spaces
    than some clients use. What was signed is what was sent."""
    self._body, self._data = raw.body, {}
    return old(self)


PLAIN_HTTP = {"Bool": {"aws:SecureTransport": "false"}}


@replace(IAMPolicyStatement, "is_action_permitted")
def is_action_permitted(old, self, action, resource="*", principal=None, incoming_condition_values=None):
    """moto asks for the right on `*`, whatever the call is about, and turns a condition it cannot check into a refusal.

    Actions are what it can enforce; so resources and conditions of a user's policy count as met. What a bucket
    refuses to plain HTTP does not concern us: the tests play the TLS side.
    """
    if self._statement["Effect"] == "Deny" and PLAIN_HTTP.items() <= self._statement.get("Condition", {}).items():
        return PermissionResult.NEUTRAL
    if "Principal" in self._statement or principal is not None:
        return old(self, action, resource, principal, incoming_condition_values)
    statement = {k: v for k, v in self._statement.items() if k != "Condition"}
    if resource == "*" or ":s3:::" in resource:
        statement["Resource"] = "*"
    said, self._statement = self._statement, statement
    try:
        return old(self, action, resource)
    finally:
        self._statement = said




class Denied(HTTPException):
    """A refusal in the words of the protocol; moto answers every service but S3 with the same XML."""

    code = 403

    def __init__(self, response, message):
        protocol = get_service_model(response.boto3_service_name).protocol
        if getattr(response, "cbor", False):
            body = cbor2.dumps({"__type": "AccessDeniedException", "Message": message})
        elif protocol == "ec2":
            body = f"<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>{message}</Message></Error></Errors><RequestID>0</RequestID></Response>"
        elif protocol in ("json", "rest-json"):
            body = json.dumps({"__type": "AccessDeniedException", "message": message, "Message": message})
        else:
            body = f"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error><RequestId>0</RequestId></ErrorResponse>"
        super().__init__(body)


@replace(ActionAuthenticatorMixin, "_authenticate_and_authorize_normal_action")
def authorize(old, self, resource="*"):
    try:
        old(self, resource)
    except AccessDeniedError as refusal:
        raise Denied(self, refusal.message) from refusal
