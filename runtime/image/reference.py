"""References to images in a registry, checked before anything is asked of the network."""

import re
from dataclasses import dataclass, replace
from ipaddress import ip_address

from runtime.errors import SpecInvalidError
from runtime.ids import check_digest

_LONGEST = 400  # as many as the record keeps
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
_PART = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SCHEMES = ("docker://", "oci:", "http://", "https://")


@dataclass(frozen=True, slots=True)
class Reference:
    """REGISTRY/REPOSITORY[:TAG][@sha256:…]; a digest, where there is one, decides."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def wanted(self) -> str:
        """Return what to ask of the registry: the digest, else the tag, else the tag `latest`."""
        if self.digest:
            return f"{self.name}@{self.digest}"
        return f"{self.name}:{self.tag or 'latest'}"

    @property
    def is_loopback(self) -> bool:
        """Return whether the registry is on this machine: nothing else may be spoken to without TLS."""
        host = re.sub(r":[0-9]+$", "", self.registry)
        if host == "localhost":
            return True
        try:
            return ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return False

    def pinned(self, digest: str) -> "Reference":
        """Return the same image, named by what it holds and not by a tag that may move."""
        return replace(self, digest=check_digest(digest))

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Return the reference a text stands for; SpecInvalidError says which part of it is wrong, and what is
    right.

    There is no registry that is meant when none is named.
    """
    if len(text) > _LONGEST:
        raise _wrong(text, f"it has {len(text)} characters; at most {_LONGEST} are taken")
    for scheme in _SCHEMES:
        if text.startswith(scheme):
            raise _wrong(text, f"leave out {scheme!r}: registry, name and tag only")
    rest, at, digest = text.partition("@")
    if at and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise _wrong(
            text,
            "after @ there must be sha256: and 64 hexadecimal digits"
            " (logins belong into STOA_REGISTRY_AUTH_FILE)",
        )
    registry, slash, path = rest.partition("/")
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        raise _wrong(text, "it must begin with a registry, as in registry.example:5000/shop:1.2")
    if not _REGISTRY.fullmatch(registry):
        raise _wrong(text, f"{registry!r} is no host name or address with an optional port")
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, f"the tag {tag!r} must be 1 to 128 letters, digits and _.-")
    for part in path.split("/"):
        if not _PART.fullmatch(part):
            raise _wrong(text, f"{part!r} in its name must be small letters, digits and single ._-")
    return Reference(registry, path, tag, digest)


def _wrong(text: str, why: str) -> SpecInvalidError:
    return SpecInvalidError(
        f"image reference is {_shown(text)[:200]!r}; {why}", field="image_source"
    )


def _shown(text: str) -> str:
    """Return the text without what stands before an @ that begins no digest: a login, and messages are
    logged.
    """
    _, at, after = text.partition("@")
    return f"…@{text.rpartition('@')[2]}" if at and not after.startswith("sha256:") else text
