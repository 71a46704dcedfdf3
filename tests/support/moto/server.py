"""moto's server, with what gantry's tests need there.

`server.py PORT [--bare]` listens on 127.0.0.1, prints `ready PORT` when it does, and ends when its standard
input closes: so it never outlives the test that started it. `--bare` leaves moto as it is installed, to see
which of the gaps in `gaps.toml` are still there.
"""

import functools
import io
import os
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Read by moto as it is imported.
os.environ.update(
    MOTO_AMIS_PATH=str(HERE / "amis.json"),
    # Bare moto issues a certificate after this long; `patches` let it ask for the record instead.
    MOTO_ACM_VALIDATION_WAIT="1" if "--bare" in sys.argv else "0",
    MOTO_EC2_LOAD_DEFAULT_AMIS="false",
)
if "--bare" not in sys.argv:
    os.environ.update(MOTO_ENABLE_AMI_VALIDATION="true", MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION="true")

from moto.core import DEFAULT_ACCOUNT_ID  # noqa: E402
from moto.moto_api._internal.models import moto_api_backend  # noqa: E402
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app  # noqa: E402
from moto.route53.models import route53_backends  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

sys.path.insert(0, str(HERE))

import raw  # noqa: E402

ZONE = "example.com."


def seed():
    """What the operator of the account has made before: the hosted zone of the domain."""
    route53_backends[DEFAULT_ACCOUNT_ID]["aws"].create_hosted_zone(
        ZONE, private_zone=False, caller_reference="seed", vpcid=None, vpcregion=None, comment="seed", delegation_set_id=None
    )


def seed_after_reset():
    reset = moto_api_backend.reset

    def reset_and_seed():
        reset()
        seed()

    moto_api_backend.reset = reset_and_seed


class OneAtATime:
    """moto's tables are not made for several threads, and gantry sends many calls at once."""

    def __init__(self, application):
        self.application, self.lock = application, threading.Lock()

    def __call__(self, environ, start_response):
        # The body is read before the lock is taken: a client that died half way must not hold up the others.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        if length:
            environ["wsgi.input"] = io.BytesIO(body)
        with self.lock:
            raw.body = body
            return list(self.application(environ, start_response))


class Dispatcher(DomainDispatcherApplication):
    """Remembers which service a host stands for: moto lists its own folders, and tries its patterns, at each request."""

    get_backend_for_host = functools.cache(DomainDispatcherApplication.get_backend_for_host)


class Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"
    # The head of an answer and its body are two writes. Without this the second waits for the client's acknowledgement
    # of the first, which clients hold back for 40 ms.
    disable_nagle_algorithm = True

    def log_request(self, *args, **named):
        """The failures moto reports are enough."""


def leave_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


def main():
    port = int(sys.argv[1])
    os.environ["MOTO_PORT"] = str(port)
    if "--bare" not in sys.argv:
        import patches

        patches.apply()
    seed_after_reset()
    seed()
    server = make_server("127.0.0.1", port, OneAtATime(Dispatcher(create_backend_app)), threaded=True, request_handler=Handler)
    threading.Thread(target=leave_with_parent, daemon=True).start()
    print(f"ready {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
