"""Checks AWS Signature Version 4 as a service does, written from its description
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html), standard library only."""

import datetime
import hashlib
import hmac
import re
import urllib.parse

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html: fifteen minutes either way.
LARGEST_SKEW = datetime.timedelta(minutes=15)


class Refused(Exception):
    """Why a request is not believed: AWS's code, and a text."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def _escaped(text, keep=""):
    return urllib.parse.quote(text, safe="-_.~" + keep)


def check(method, target, headers, body, service, who, now):
    """Raises `Refused` unless the request is signed by `who` for this service, now.

    `headers` is a list of pairs as they came, `target` the request line's path and query, `who` a dictionary with
    region, access_key, secret_key and session.
    """
    values = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))

    def one(name):
        found = values.get(name, [])
        if len(found) != 1:
            raise Refused("IncompleteSignature", f"{len(found)} headers {name}")
        return found[0]

    said = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
        r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})",
        one("authorization"),
    )
    if not said:
        raise Refused("IncompleteSignature", "the header Authorization is of another form")
    key, day, region, scope, names, signature = said.groups()
    stamp = one("x-amz-date")
    when = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    if abs(now - when) > LARGEST_SKEW:
        raise Refused("RequestTimeTooSkewed" if service == "s3" else "InvalidSignatureException", "the clock is wrong")
    if key != who["access_key"]:
        raise Refused("InvalidAccessKeyId", "no such key")
    if (day, region, scope) != (stamp[:8], who["region"], service):
        raise Refused("AuthorizationHeaderMalformed", f"scope {day}/{region}/{scope}")
    # A key of a role is worth nothing without its session.
    if one("x-amz-security-token") != who["session"]:
        raise Refused("InvalidToken", "the session is another")

    names = names.split(";")
    if names != sorted(names):
        raise Refused("IncompleteSignature", "the signed headers are not in order")
    must = {"host"} | {name for name in values if name.startswith("x-amz-")}
    if not must <= set(names):
        raise Refused("AccessDenied", f"not signed: {sorted(must - set(names))}")

    digest = hashlib.sha256(body).hexdigest()
    if service == "s3" and one("x-amz-content-sha256") != digest:
        raise Refused("XAmzContentSHA256Mismatch", "the body is another than was signed")

    path, _, query = target.partition("?")
    # S3 signs the path as it is sent; all other services escape it once more.
    canonical_path = path if service == "s3" else _escaped(path, "/")
    pairs = sorted(
        (_escaped(name), _escaped(value)) for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True)
    )
    canonical = "\n".join(
        [
            method,
            canonical_path,
            "&".join(f"{name}={value}" for name, value in pairs),
            *[f"{name}:{','.join(values.get(name, []))}" for name in names],
            "",
            ";".join(names),
            digest,
        ]
    )
    text = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            stamp,
            f"{day}/{region}/{service}/aws4_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    seal = ("AWS4" + who["secret_key"]).encode()
    for part in (day, region, service, "aws4_request"):
        seal = hmac.new(seal, part.encode(), hashlib.sha256).digest()
    wanted = hmac.new(seal, text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, signature):
        raise Refused("SignatureDoesNotMatch", canonical)
