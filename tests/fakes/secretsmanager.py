"""A Secrets Manager: values, binaries, and who may read them."""

import base64
import json
import socket
from collections.abc import Mapping

from tests.fakes.simulator import Call, Reply, Simulator
from tests.fakes.ssm import denial, failure


class SecretsManager(Simulator):
    """`secrets` are by name; bytes are binary ones. Names in `forbidden` are denied."""

    def __init__(self, listener: socket.socket, secrets: Mapping[str, str | bytes]) -> None:
        super().__init__(listener)
        self.secrets = dict(secrets)
        self.forbidden: set[str] = set()

    def answer(self, call: Call) -> Reply:
        if call.headers["x-amz-target"] != "secretsmanager.GetSecretValue":
            return failure("InvalidAction")
        name = call.json()["SecretId"]
        if name in self.forbidden:
            return denial("secretsmanager:GetSecretValue", name)
        if name not in self.secrets:
            return failure("ResourceNotFoundException", "can't find the specified secret.")
        value = self.secrets[name]
        shown = (
            {"SecretString": value}
            if isinstance(value, str)
            else {"SecretBinary": base64.b64encode(value).decode()}
        )
        body = json.dumps({"Name": name, "VersionId": "v" * 32, **shown}).encode()
        return Reply(body=body, kind="application/x-amz-json-1.1")
