"""What one instance sees of AWS: its metadata service, S3, Secrets Manager and CreateTags of EC2, and two sites to
download from. Signatures are checked for real.

    python3 server.py FOLDER

Prints `ready PORT`, and ends when its stdin does. The world is the folder, which the test reads and writes:

    who.json        region, access_key, secret_key, session, profile, instance, address, bucket, readable (the prefix
                    that may be read), writable, skew (seconds that the services' clock is ahead)
    s3/KEY          the objects of the bucket
    secrets.json    entry -> {"value": text or null, "versions": {mark: text}}
    tags.json       the instance's tags
    files/…         what /download/… serves
    faults.json     [{"action", "how": "status" | "drop-before" | "drop-after", "status", "times"}]
    calls.jsonl     one line a call: {"action", "resource", "status", "code"}
"""

import datetime
import http.server
import json
import os
import pathlib
import secrets
import socket
import sys
import threading
import urllib.parse

import sigv4

FOLDER = pathlib.Path(sys.argv[1])
LOCK = threading.Lock()
SESSIONS = set()


def read(name, default=None):
    path = FOLDER / name
    return json.loads(path.read_text()) if path.exists() else default


def write(name, value):
    path = FOLDER / (name + ".new")
    path.write_text(json.dumps(value, indent=1))
    os.replace(path, FOLDER / name)


class Answer(Exception):
    def __init__(self, status, body=b"", code="", kind="text/plain"):
        super().__init__(status)
        self.status, self.code, self.kind = status, code, kind
        self.body = body.encode() if isinstance(body, str) else body


def xml(status, code, text):
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{text}</Message></Error>'
    return Answer(status, body, code, "application/xml")


def typed(code, text, status=400):
    return Answer(status, json.dumps({"__type": code, "Message": text}), code, "application/x-amz-json-1.1")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.action, self.resource = "unknown", self.path
        with LOCK:
            try:
                self.route(body)
                answer = Answer(404, "no such place")
            except Answer as given:
                answer = given
            fault = self.fault("drop-after")
            if fault is None:
                self.note(answer.status, answer.code)
            else:
                self.note(answer.status, "answer lost")
        if fault is not None:
            return self.drop()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    def drop(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def note(self, status, code=""):
        line = {"action": self.action, "resource": self.resource, "status": status, "code": code}
        with open(FOLDER / "calls.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")

    def fault(self, how):
        """The next fault of this sort for the action, used up."""
        faults = read("faults.json", [])
        for fault in faults:
            if fault["action"] == self.action and fault["how"] == how and fault["times"] > 0:
                fault["times"] -= 1
                write("faults.json", faults)
                return fault
        return None

    def begin(self, action, resource):
        """Names the call, and lets it fail if the test wants that."""
        self.action, self.resource = action, resource
        fault = self.fault("status")
        if fault:
            raise xml(fault["status"], fault.get("code", "InternalError"), "by order of the test")

    def route(self, body):
        path = self.path.split("?")[0]
        top, _, rest = path.lstrip("/").partition("/")
        if top == "imds":
            self.metadata(rest)
        elif top == "download":
            self.begin("download", rest)
            file = FOLDER / "files" / rest
            raise Answer(200, file.read_bytes()) if file.is_file() else Answer(404, "not found")
        elif top == "s3":
            self.s3(rest, body)
        elif top == "secrets":
            self.secrets(body)
        elif top == "ec2":
            self.ec2(body)

    def metadata(self, path):
        who = read("who.json")
        self.begin("imds", path)
        if path == "latest/api/token":
            if self.command != "PUT" or not 1 <= int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"] or 0) <= 21600:
                raise Answer(400)
            session = secrets.token_urlsafe(32)
            SESSIONS.add(session)
            raise Answer(200, session)
        if self.headers["X-aws-ec2-metadata-token"] not in SESSIONS or self.command != "GET":
            raise Answer(401)
        credentials = {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": who["access_key"],
            "SecretAccessKey": who.get("told_secret_key", who["secret_key"]),
            "Token": who["session"],
            "Expiration": "2037-01-01T00:00:00Z",
        }
        known = {
            "latest/meta-data/instance-id": who["instance"],
            "latest/meta-data/local-ipv4": who["address"],
            "latest/meta-data/iam/security-credentials/": who["profile"],
            "latest/meta-data/iam/security-credentials/" + who["profile"]: json.dumps(credentials, indent=2),
        }
        if path not in known:
            raise Answer(404)
        raise Answer(200, known[path])

    def believe(self, service, body, refusal):
        who = read("who.json")
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=who.get("skew", 0))
        try:
            sigv4.check(self.command, self.path, self.headers.items(), body, service, who, now)
        except sigv4.Refused as error:
            raise refusal(error) from None
        return who

    def s3(self, path, body):
        bucket, _, key = path.partition("/")
        action = {"GET": "s3:GetObject", "PUT": "s3:PutObject"}.get(self.command, "s3:" + self.command)
        self.begin(action, f"{bucket}/{key}")
        who = self.believe("s3", body, lambda error: xml(403, error.code, "refused"))
        if bucket != who["bucket"]:
            raise xml(404, "NoSuchBucket", bucket)
        file = FOLDER / "s3" / key
        if self.command == "GET":
            # Without s3:ListBucket, S3 does not say whether a key exists.
            if not key.startswith(who["readable"]) or not file.is_file():
                raise xml(403, "AccessDenied", "Access Denied")
            raise Answer(200, file.read_bytes())
        if self.command == "PUT":
            if not key.startswith(who["writable"]):
                raise xml(403, "AccessDenied", "Access Denied")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
            raise Answer(200)
        raise xml(405, "MethodNotAllowed", self.command)

    def secrets(self, body):
        operation = (self.headers["X-Amz-Target"] or "").removeprefix("secretsmanager.")
        asked = json.loads(body)
        self.begin("secretsmanager:" + operation, asked["SecretId"])
        if self.headers["Content-Type"] != "application/x-amz-json-1.1":
            raise typed("SerializationException", "the type of the body", 400)
        self.believe("secretsmanager", body, lambda error: typed(error.code, "refused"))
        kept = read("secrets.json", {})
        entry = kept.get(asked["SecretId"])
        if entry is None:
            raise typed("AccessDeniedException", "not for this role")
        if operation == "GetSecretValue":
            if entry["value"] is None:
                raise typed("ResourceNotFoundException", "no value with the staging label AWSCURRENT")
            raise Answer(200, json.dumps({"Name": asked["SecretId"], "SecretString": entry["value"]}))
        if operation == "PutSecretValue":
            mark, value = asked["ClientRequestToken"], asked["SecretString"]
            if not 32 <= len(mark) <= 64:
                raise typed("ValidationException", "ClientRequestToken")
            versions = entry.setdefault("versions", {})
            if versions.get(mark, value) != value:
                raise typed("ResourceExistsException", "this token had another value")
            if mark not in versions:
                versions[mark] = entry["value"] = value
                write("secrets.json", kept)
            raise Answer(200, json.dumps({"VersionId": mark}))
        raise typed("UnknownOperationException", operation)

    def ec2(self, body):
        asked = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True))
        self.begin("ec2:" + asked["Action"], asked.get("ResourceId.1", ""))
        who = self.believe("ec2", body, lambda error: xml(403, error.code, "refused"))
        if asked["Action"] != "CreateTags" or asked["Version"] != "2016-11-15":
            raise xml(400, "InvalidAction", asked["Action"])
        if asked["ResourceId.1"] != who["instance"] or asked["Tag.1.Key"] != "gantry:boot" or "Tag.2.Key" in asked:
            raise xml(403, "UnauthorizedOperation", "only itself, and only this tag")
        write("tags.json", {**read("tags.json", {}), asked["Tag.1.Key"]: asked["Tag.1.Value"]})
        raise Answer(200, "<CreateTagsResponse><return>true</return></CreateTagsResponse>", kind="text/xml")


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", server.server_address[1], flush=True)
    sys.stdin.read()


main()
