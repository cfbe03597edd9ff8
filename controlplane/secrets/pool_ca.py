"""The pool's own certificate authority: who an agent on another machine believes, and nobody else does.

python -m controlplane.secrets.pool_ca DIR NAME=OWNER… [--for ADDRESS-OR-HOSTNAME…]

Makes DIR/pool-ca.{crt,key} once, and for each NAME a certificate DIR/NAME.{crt,key}, again when it runs
out soon, when the addresses change or when the CA did. No Django: it runs before there is a database.
The CA's key is root's alone and is read here only; a join token names the SHA-256 of its certificate.
"""

import argparse
import ipaddress
import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA = "pool-ca"
_CA_DAYS, _DAYS, _RENEW_DAYS = 3650, 397, 60
# Clocks of machines differ a little; a certificate is good from a day before it was made.
_BEFORE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure(folder: Path, names: dict[str, str], places: list[str], *, now: datetime) -> list[str]:
    """Make what is missing or no longer right; the names that were made.

    names: certificate → the user who may read its key. places: addresses and host names it is good for.
    """
    made = []
    ca = _read(folder, CA)
    if ca is None:
        ca = _new_ca(now)
        _write(folder, CA, ca, owner="root")
        made.append(CA)
    for name, owner in names.items():
        kept = _read(folder, name)
        if kept is None or not _is_good(kept.certificate, ca, places, now):
            _write(folder, name, _new_server(name, ca, places, now), owner=owner)
            made.append(name)
        else:
            _own(folder / f"{name}.key", owner)
    return made


def _new_ca(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stoa pool CA")])
    certificate = (
        _builder(name, name, key, now, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _new_server(name: str, ca: Pair, places: list[str], now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Stoa {name}")])
    issuer = ca.certificate.subject
    certificate = (
        _builder(subject, issuer, key, now, _DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(places)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
        .sign(ca.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(places: list[str]) -> list[x509.GeneralName]:
    return [_alternative(place) for place in sorted(set(places))]


def _alternative(place: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(place))
    except ValueError:
        return x509.DNSName(place)


def _is_good(certificate: x509.Certificate, ca: Pair, places: list[str], now: datetime) -> bool:
    if certificate.not_valid_after_utc - now < timedelta(days=_RENEW_DAYS):
        return False
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    if set(extension.value) != set(_alternatives(places)):
        return False
    try:
        certificate.verify_directly_issued_by(ca.certificate)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, a new one is right
        return False
    return True


def _read(folder: Path, name: str) -> Pair | None:
    """Return the pair, when both files are there and belong together; a half-written one is made anew."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
        key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    return Pair(certificate, key) if certificate.public_key() == key.public_key() else None


def _write(folder: Path, name: str, pair: Pair, *, owner: str) -> None:
    key = pair.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _place(folder / f"{name}.key", key, 0o600)
    _own(folder / f"{name}.key", owner)
    _place(folder / f"{name}.crt", pair.certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _place(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _own(path: Path, owner: str) -> None:
    if os.geteuid() == 0 and path.owner() != owner:
        shutil.chown(path, owner)


def main(argv: list[str]) -> int:
    """Do what argv says; prints the names that were made, one a line."""
    parser = argparse.ArgumentParser(prog="python -m controlplane.secrets.pool_ca")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+", metavar="NAME=OWNER")
    parser.add_argument("--for", dest="places", nargs="+", default=[], metavar="PLACE")
    given = parser.parse_args(argv)
    names = dict(pair.split("=", 1) for pair in given.names)
    for made in ensure(given.folder, names, given.places, now=datetime.now(UTC)):
        sys.stdout.write(f"{made}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
