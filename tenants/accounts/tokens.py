"""API tokens and agents' tokens: made once, kept as SHA-256, looked up by what is public in them.

The secrets have 190 random bits or more, so a fast hash is right.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now

from tenants.accounts.models import ApiToken, Member

PREFIX = "stoa"
# Writing at every request would make each read of the API a write.
USED_EVERY = timedelta(minutes=1)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TOKEN = re.compile(rf"{PREFIX}_([0-9a-z]{{12}})_([0-9a-z]{{38}})")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made; text is the only copy of the whole credential."""

    token: ApiToken
    text: str


def create(
    name: str,
    *,
    member: Member | None = None,
    is_operator: bool = False,
    lifetime: timedelta | None = None,
) -> NewToken:
    """Make a token that acts as its member, or on every tenant when is_operator.

    lifetime: how long it works; None: until it is revoked.
    """
    key_id, secret = random_text(12), random_text(38)
    token = ApiToken.objects.create(
        key_id=key_id,
        secret_sha256=sha256(secret),
        name=name,
        member=member,
        is_operator=is_operator,
        expires_at=None if lifetime is None else Now() + lifetime,
    )
    return NewToken(token=token, text=f"{PREFIX}_{key_id}_{secret}")


# Every call of the API asks this: through the ORM it took as long as a fifth of a sign-up.
_FIND = """
SELECT token.*, token.last_used_at IS NULL
                OR token.last_used_at < statement_timestamp() - %s AS is_touch_due
  FROM tenants_apitoken AS token LEFT JOIN tenants_member AS member ON member.id = token.member_id
 WHERE token.key_id = %s AND token.revoked_at IS NULL
   AND (token.expires_at IS NULL OR token.expires_at > statement_timestamp())
   AND (token.member_id IS NULL OR member.is_active)
"""


def find(text: str) -> ApiToken | None:
    """Return the token behind this credential; None when it does not work (any more)."""
    matched = _TOKEN.fullmatch(text)
    if matched is None:
        return None
    token = next(iter(ApiToken.objects.raw(_FIND, [USED_EVERY, matched[1]])), None)
    if token is None or not matches(matched[2], token.secret_sha256):
        return None
    return token


def touch(token: ApiToken) -> None:
    """Note that a token from `find` was used, at most once a minute."""
    if getattr(token, "is_touch_due", True):
        ApiToken.objects.filter(_touch_due(), pk=token.pk).update(last_used_at=Now())


def revoke(token: ApiToken) -> None:
    """Make the token useless from now on. Idempotent."""
    ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=Now())


def sha256(secret: str) -> str:
    """Return the SHA-256 that is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, kept: str) -> bool:
    """Return whether this is the secret of which `kept` is kept; takes the same time either way."""
    return secrets.compare_digest(sha256(secret), kept)


def _touch_due() -> Q:
    return Q(last_used_at__isnull=True) | Q(last_used_at__lt=Now() - USED_EVERY)


def random_text(length: int) -> str:
    """Return random characters, 5 bits each, that can be read aloud without doubt."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
