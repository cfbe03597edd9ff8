"""Looks how long the pool's certificates are still good: when they end, every agent falls silent at once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from tenants.core.alarm_kinds import CERTIFICATE

# bin/up renews what has 60 days left; an alarm follows when it was not run for so long.
WARN_BEFORE = timedelta(days=45)


def running_out(secrets: Path, now: datetime) -> dict[str, str]:
    """Return the alarms: one for each certificate that ends soon or has ended. One that is not there has
    none.
    """
    found = {}
    for file in sorted(secrets.glob("*.crt")):
        ends = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
        if ends - now < WARN_BEFORE:
            found[CERTIFICATE.key(file.stem.replace(".", "-"))] = (
                f"the certificate {file.stem} {_when(ends - now)}; run bin/up, which renews it"
                " (after that hosts on other machines could not be reached)"
            )
    return found


def _when(left: timedelta) -> str:
    days = left // timedelta(days=1)
    return f"ends in {days} days" if left > timedelta(0) else "has ended"


def now() -> datetime:
    """Return this machine's clock: certificates are judged by it, not by the database's."""
    return datetime.now(UTC)
