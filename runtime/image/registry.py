"""Fetching images from registries, with skopeo: what arrives is a layout that nobody believes yet.

skopeo speaks the protocol. The digest decides what is taken, and our own unpacker verifies every blob.
Passwords stay in the host's auth file: no argument, log line or record holds one.
"""

import hashlib
import http.client
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.config import ImageAccess
from runtime.errors import (
    CommandFailedError,
    HostError,
    HostUnfitError,
    ImageUnavailableError,
    ImageUnknownError,
    SpecInvalidError,
)
from runtime.image.layout import choose_manifest, packed_bytes
from runtime.image.reference import Reference
from runtime.system.commands import run
from runtime.wire import parsed

ASK_SECONDS = 60.0
COPY_SECONDS = 1800.0
_MANIFEST_LIMIT = 4 * 1024 * 1024
_BLOB_LIMIT = 8 * 1024**3
_PROBE_SECONDS = 10.0
# What a program needs that speaks to the network; ours hold the agent's own secrets too.
_KEPT = ("PATH", "HOME", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """An image as a registry has it: pinned reference, manifest, bytes of its packed blobs."""

    reference: Reference
    manifest: bytes
    packed_bytes: int

    @property
    def digest(self) -> str:
        """Digest of the manifest for this machine."""
        return self.reference.digest


class Registry:
    """The registries of the world, as one host may use them."""

    def __init__(self, access: ImageAccess) -> None:
        self._access = access

    def resolve(self, reference: Reference) -> RegistryImage:
        """Return the image for this machine that a reference means now; costs one request, two for an index.

        Raises ImageUnknownError when the registry has none, ImageUnavailableError when it does not say,
        SpecInvalidError for an image that cannot run here.
        """
        raw = self._manifest(reference)
        chosen = choose_manifest(raw, _digest(raw))
        if chosen != _digest(raw):
            raw = self._manifest(reference.pinned(chosen))
        return RegistryImage(reference.pinned(chosen), raw, packed_bytes(raw))

    def config(self, found: RegistryImage) -> Mapping[str, object]:
        """Return the `config` object of the image's own configuration; costs one request more.

        Raises ImageUnavailableError when the registry does not give it.
        """
        raw = self._inspected(found.reference, "--config", "--raw")
        try:
            config = parsed(raw)["config"] or {}
        except (ValueError, KeyError, TypeError) as error:
            raise ImageUnavailableError(
                f"{found.reference.registry} gave no configuration for {found.reference}: {error}"
            ) from error
        return config if isinstance(config, dict) else {}

    def copy(self, found: RegistryImage, layout: Path) -> None:
        """Fetch the image into the empty directory `layout`, as an OCI layout without index."""
        with tempfile.TemporaryDirectory(dir=layout) as flat:
            self._skopeo(
                found.reference,
                "copy", "--quiet", "--preserve-digests",
                *self._flags(found.reference, "src-"),
                f"docker://{found.reference.wanted}", f"dir:{flat}",
                timeout=COPY_SECONDS,
            )  # fmt: skip
            blobs = layout / "blobs" / "sha256"
            blobs.mkdir(parents=True)
            for file in Path(flat).iterdir():
                if re.fullmatch(r"[0-9a-f]{64}", file.name):
                    file.rename(blobs / file.name)
            # Under the digest it was asked for: the unpacker refuses it when it is another.
            (Path(flat) / "manifest.json").rename(blobs / found.digest.removeprefix("sha256:"))

    def _manifest(self, reference: Reference) -> bytes:
        raw = self._inspected(reference, "--raw")
        if reference.digest and _digest(raw) != reference.digest:
            raise ImageUnavailableError(
                f"{reference.registry} gave {_digest(raw)} for {reference}: it is not to be trusted"
            )
        return raw

    def _inspected(self, reference: Reference, *what: str) -> bytes:
        """Return the answer of `skopeo inspect`."""
        with tempfile.TemporaryFile() as answer:
            self._skopeo(
                reference,
                "inspect", *what,
                *self._flags(reference, ""),
                f"docker://{reference.wanted}",
                timeout=ASK_SECONDS,
                stdout=answer.fileno(),
            )  # fmt: skip
            answer.seek(0)
            raw = answer.read(_MANIFEST_LIMIT + 1)
        if len(raw) > _MANIFEST_LIMIT:
            raise SpecInvalidError(
                f"the manifest or configuration of {reference} has more than"
                f" {_MANIFEST_LIMIT} bytes",
                field="image_source",
            )
        return raw

    def _flags(self, reference: Reference, prefix: str) -> list[str]:
        """Return skopeo's flags for logins and trusted CAs. A host's own login files do not count."""
        flags = []
        auth, ca_dir = self._access.auth_file, self._access.ca_dir
        if auth is None:
            flags.append(f"--{prefix}no-creds")
        else:
            flags += [f"--{prefix}authfile", str(check_auth_file(auth))]
        if ca_dir is not None:
            flags += [f"--{prefix}cert-dir", str(_check_ca_dir(ca_dir))]
        if reference.is_loopback and _speaks_plain_http(reference.registry):
            flags.append(f"--{prefix}tls-verify=false")
        return flags

    def _skopeo(
        self, reference: Reference, *argv: str, timeout: float, stdout: int | None = None
    ) -> None:
        try:
            run(
                # It must not outlive us, nor write without end whatever a registry sends.
                "prlimit", f"--fsize={_BLOB_LIMIT}",
                "setpriv", "--pdeathsig", "KILL",
                # Whom we believe is said by flags: the machine's own lists of registries do not count.
                "skopeo", "--insecure-policy", *argv,
                timeout=timeout,
                stdout=stdout,
                env={
                    **{name: os.environ[name] for name in _KEPT if name in os.environ},
                    "CONTAINERS_REGISTRIES_CONF": "/dev/null",
                },
            )  # fmt: skip
        except CommandFailedError as error:
            raise _explained(error, reference, self._access) from error


def check_auth_file(path: Path) -> Path:
    """Return the path of a file that nobody else can read and that holds JSON; HostError otherwise."""
    try:
        mode = path.stat().st_mode
        content = path.read_text()
    except OSError as error:
        raise HostError(f"STOA_REGISTRY_AUTH_FILE {path} cannot be read: {error}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise HostError(
            f"STOA_REGISTRY_AUTH_FILE {path} has mode {stat.S_IMODE(mode):04o}; chmod 600 {path}"
        )
    try:
        is_object = isinstance(parsed(content), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise HostError(
            f"STOA_REGISTRY_AUTH_FILE {path} is no docker-style auth file;"
            f" make one with: skopeo login --authfile {path} REGISTRY"
        )
    return path


def _check_ca_dir(path: Path) -> Path:
    if not any(path.glob("*.crt")):
        raise HostError(f"STOA_REGISTRY_CA_DIR {path} holds no *.crt file")
    return path


def _speaks_plain_http(registry: str) -> bool:
    """Return whether a registry on loopback answers without TLS; one that speaks TLS is held to its
    certificate.
    """
    connection = http.client.HTTPConnection(registry, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status in {200, 401}
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


_REASONS: tuple[tuple[str, type[HostError] | type[ImageUnknownError], str], ...] = (
    (
        r"manifest unknown|name unknown|repository name not known|[Ss]tatus ?[Cc]ode:? 404",
        ImageUnknownError,
        "the registry has no such image; check name, tag and digest",
    ),
    (
        r"unauthorized|authentication required|access to the resource is denied|forbidden",
        ImageUnavailableError,
        "the registry does not let this host in; check STOA_REGISTRY_AUTH_FILE ({auth})",
    ),
    (
        r"x509|certificate|tls:",
        ImageUnavailableError,
        "the registry's certificate is not one this host believes; give its CA by STOA_REGISTRY_CA_DIR",
    ),
    (
        r"[Dd]igest did not match|does not match|unexpected EOF|verification failed",
        ImageUnavailableError,
        "what the registry sent is not what the digest says",
    ),
    (r"no space left", HostError, "no room on this host's disk"),
    (r"file too large|File size limit", HostError, "a blob has more than 8 GiB"),
)


def _explained(
    error: CommandFailedError, reference: Reference, access: ImageAccess
) -> HostError | ImageUnknownError:
    """Return the error in words that say what to do; addresses in it may be signed and lose their query."""
    said = re.sub(r"\?[^\s\"']+", "?…", f"{error.message} {error.details.get('output', '')}")
    if "cannot be started" in said or "failed to execute" in said or "exit code 127" in said:
        return HostUnfitError("skopeo is missing on this host; apt-get install skopeo")
    for pattern, kind, reason in _REASONS:
        if re.search(pattern, said):
            text = f"{reference}: {reason.format(auth=access.auth_file or 'not set')}"
            return kind(text, said=said[-300:])
    return ImageUnavailableError(f"{reference} cannot be fetched: {said.strip()[-300:]}")


def _digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"
