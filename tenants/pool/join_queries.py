"""What there is to know before a machine joins: where it goes, whom it trusts, which tokens are out."""

import hashlib
import ssl
from pathlib import Path

from django.conf import settings
from django.db.models import F, QuerySet, Window
from django.db.models.functions import Now, RowNumber

from tenants.catalogue.models import Release
from tenants.pool.models import JoinToken


def address() -> str:
    """Return where machines join, https://<address>:<port>; "" when no other machine can reach this one."""
    if not settings.STOA_POOL_ADDRESS:
        return ""
    return f"https://{settings.STOA_POOL_ADDRESS}:{settings.STOA_DEPOT_PORT}"


def command(token: str) -> str:
    """Return what to run on the machine that is to join."""
    return f"bin/stoa host join {address()} --token {token}"


def ca_sha256() -> str:
    """SHA-256 of the certificate of the pool's CA; "" when there is none."""
    try:
        pem = Path(settings.STOA_CONTROL_CA).read_text()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except (OSError, ValueError):
        return ""


def tokens() -> QuerySet[JoinToken]:
    """Return the newest hundred tokens with what became of them: `is_over` for one that ran out unused."""
    return JoinToken.objects.select_related("host").annotate(asked_at=Now()).order_by("-pk")[:100]


def token(key_id: str) -> JoinToken | None:
    """Return one token."""
    return JoinToken.objects.filter(key_id=key_id).first()


def state(row: JoinToken) -> str:
    """waiting, used, expired or revoked. Needs a row of `tokens()`."""
    if row.used_at is not None:
        return "used"
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.asked_at >= row.expires_at else "waiting"  # type: ignore[attr-defined]


def current_images() -> list[tuple[str, str]]:
    """Digest and source of the newest release of every app: what a new host should have at once."""
    numbered = Release.objects.annotate(
        place=Window(RowNumber(), partition_by=F("app"), order_by=F("number").desc())
    )
    newest = numbered.filter(place=1).values_list("image_digest", "image_source")
    return sorted(set(newest))
