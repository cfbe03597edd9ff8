"""A registry of the tests' own: Debian's docker-registry on loopback, with logins and TLS as told."""

import base64
import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = "docker-registry"
USER, PASSWORD = "shops", "a-long-password-of-a-test"


@dataclass
class RegistryServer:
    """One registry below `home`. has_login: USER and PASSWORD; has_tls: a certificate of our own CA."""

    home: Path
    has_login: bool = False
    has_tls: bool = False
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def ca_dir(self) -> Path:
        """The directory of the CA that signed the registry's certificate."""
        return self.home / "ca"

    @property
    def auth_file(self) -> Path:
        """An auth file with the right password."""
        return self.write_auth(self.home / "auth.json", PASSWORD)

    def write_auth(self, to: Path, password: str) -> Path:
        secret = base64.b64encode(f"{USER}:{password}".encode()).decode()
        to.write_text(json.dumps({"auths": {self.address: {"auth": secret}}}))
        to.chmod(0o600)
        return to

    def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        place: dict[str, object] = {"addr": self.address}
        if self.has_tls:
            place["tls"] = self._certificate()
        config: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.home / "data")}},
            "http": place,
        }
        if self.has_login:
            made = subprocess.run(
                ["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True
            )
            (self.home / "htpasswd").write_bytes(made.stdout)
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(self.home / "htpasswd")}}
        (self.home / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", str(self.home / "config.yml")], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, (self.home / "log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def push(self, layout: Path, name: str, *, source: str = "", kind: str = "") -> None:
        """Put an image of an OCI layout into the registry as `name:tag`.

        source names one of several; kind is another kind of manifest to make of it (v2s2).
        """
        flags = ["--dest-tls-verify=false"]
        flags += ["--format", kind] if kind else ["--all", "--preserve-digests"]
        if self.has_login:
            flags += ["--dest-authfile", str(self.auth_file)]
        subprocess.run(
            ["skopeo", "--insecure-policy", "copy", "--quiet", *flags,
             f"oci:{layout}{':' + source if source else ''}", f"docker://{self.address}/{name}"],
            check=True, capture_output=True,
        )  # fmt: skip

    def blob(self, digest: str) -> Path:
        """The file in which the registry keeps a blob."""
        number = digest.removeprefix("sha256:")
        return self.home / "data/docker/registry/v2/blobs/sha256" / number[:2] / number / "data"

    def fetched(self) -> list[str]:
        """The digests of the blobs that were asked for so far, each as often as it was."""
        return re.findall(r"GET /v2/[^ ]*/blobs/(sha256:[0-9a-f]{64})", self._log())

    def _log(self) -> str:
        return (self.home / "log").read_text()

    def _answers(self) -> bool:
        # Whoever speaks TLS answers plain HTTP with 400: an answer it is.
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in {200, 400, 401}
        except OSError:
            return False
        finally:
            connection.close()

    def _certificate(self) -> dict[str, str]:
        self.ca_dir.mkdir(exist_ok=True)
        (self.home / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        request = "req -newkey rsa:2048 -nodes"
        sign = "x509 -req -in server.csr -CA ca/ca.crt -CAkey ca.key -CAcreateserial"
        for words in (
            f"{request} -x509 -keyout ca.key -out ca/ca.crt -days 2 -subj /CN=test-ca",
            f"{request} -keyout server.key -out server.csr -subj /CN=127.0.0.1",
            f"{sign} -days 2 -out server.crt -extfile ext",
        ):
            subprocess.run(
                ["openssl", *words.split()], check=True, capture_output=True, cwd=self.home
            )
        return {
            "certificate": str(self.home / "server.crt"),
            "key": str(self.home / "server.key"),
        }


def missing() -> str:
    """Why no registry can be run here, or ""."""
    lacking = [name for name in (PROGRAM, "skopeo", "htpasswd") if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""
