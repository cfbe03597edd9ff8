"""What tests ask of certificates."""

import hashlib
import ssl
from pathlib import Path


def fingerprint(file: Path) -> str:
    """SHA-256 of a certificate (its DER form), in hexadecimal: what a join token names."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read_text())).hexdigest()
