"""The EC2 metadata service, which no job may reach."""

import json
import secrets
import socket
from datetime import UTC, datetime, timedelta

from tests.fakes.simulator import Call, Reply, Simulator, json_reply, problem

ROLE = "fleet-instance-role"
ACCESS_KEY_ID = "ASIAHOSTINSTANCEROLE"  # a successful attack gets this
# What an agent with tags-from-ec2-meta-data asks for.
INSTANCE = {
    "/latest/meta-data/instance-id": "i-0123456789abcdef0",
    "/latest/meta-data/instance-type": "m7i.large",
    "/latest/meta-data/ami-id": "ami-0123456789abcdef0",
    "/latest/meta-data/instance-life-cycle": "on-demand",
}


class Metadata(Simulator):
    """IMDSv2 with one instance role; anything without a token is refused, unless it is `open`.

    `hops` is how many hops a token travels, as HttpPutResponseHopLimit.
    """

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener)
        self.secret = f"host-secret-{secrets.token_hex(16)}"
        self._token = secrets.token_urlsafe(24)
        self.open = False
        self.hops = 64

    def send(self, call: Call, connection: socket.socket) -> None:
        if connection.family == socket.AF_INET:
            hops = self.hops if call.method == "PUT" else 64
            connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)

    def answer(self, call: Call) -> Reply:
        if call.method == "PUT" and call.path == "/latest/api/token":
            return Reply(body=self._token.encode(), kind="text/plain")
        token = call.headers.get("x-aws-ec2-metadata-token")
        if token != self._token and not (self.open and token is None):
            return problem(401, "no token")
        if call.path == "/latest/meta-data/":
            return Reply(body=b"iam/\nplacement/\n", kind="text/plain")
        credentials = "/latest/meta-data/iam/security-credentials/"
        match call.path.rstrip("/") + ("/" if call.path.endswith("/") else ""):
            case path if path == credentials:
                return Reply(body=ROLE.encode(), kind="text/plain")
            case path if path == credentials + ROLE:
                return json_reply(self._credentials())
            case "/latest/meta-data/placement/region":
                return Reply(body=b"us-east-1", kind="text/plain")
            case path if path in INSTANCE:
                return Reply(body=INSTANCE[path].encode(), kind="text/plain")
            case "/latest/user-data":
                return Reply(body=b"secret user data", kind="text/plain")
            case "/latest/dynamic/instance-identity/document":
                return Reply(body=json.dumps({"region": "us-east-1"}).encode())
            case _:
                return problem(404, "no such metadata")

    def _credentials(self) -> dict[str, str]:
        until = datetime.now(UTC) + timedelta(hours=6)
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": ACCESS_KEY_ID,
            "SecretAccessKey": self.secret,
            "Token": "host-session-token",
            "Expiration": f"{until:%Y-%m-%dT%H:%M:%SZ}",
            "LastUpdated": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
