"""The shop's first-login secret: made here, encrypted until shown once, never sent anywhere."""

import hashlib
import secrets
from functools import lru_cache

from cryptography.fernet import Fernet
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from tenants.shops.models import FirstLogin, Tenant


def create(tenant: Tenant) -> FirstLogin:
    """Make a secret of 140 bits; the shop gets only its salted SHA-256."""
    secret = "-".join(_group() for _ in range(4))
    salt = secrets.token_bytes(16)
    digest = hashlib.sha256(salt + secret.encode()).hexdigest()
    return FirstLogin.objects.create(
        tenant=tenant,
        hash=f"sha256:{salt.hex()}:{digest}",
        ciphertext=_box().encrypt(secret.encode()),
    )


@transaction.atomic
def reveal(tenant: Tenant) -> str | None:
    """Return the secret, the first time it is asked for; None ever after. It is wiped as it is read."""
    row = FirstLogin.objects.select_for_update().filter(tenant=tenant, shown_at=None).first()
    if row is None:
        return None
    secret = _box().decrypt(bytes(row.ciphertext)).decode()
    FirstLogin.objects.filter(pk=row.pk).update(ciphertext=b"", shown_at=Now())
    return secret


def _group() -> str:
    # Seven of 32 signs: 35 bits, easy to read aloud and to type on a phone.
    return "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(7))


@lru_cache(maxsize=1)
def _box() -> Fernet:
    return Fernet(settings.FERNET_KEY)
