"""People and programs that may act: members and API tokens."""

from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Lower, Now


class MemberManager(BaseUserManager["Member"]):
    """Makes members; e-mail addresses are kept as typed but unique without regard to case."""

    def create_user(self, email: str, password: str | None = None, **fields: object) -> "Member":
        """Save a member; without a password they can only get in by a reset link."""
        member = self.model(email=self.normalize_email(email), **fields)
        member.set_password(password)
        member.save(using=self._db)
        return member

    def by_email(self, email: str) -> "models.QuerySet[Member]":
        """Return a query for the one member or none with this e-mail address, whatever its case."""
        # Not iexact: that is UPPER() = UPPER(), which the unique index on LOWER() cannot answer.
        return self.alias(lower_email=Lower("email")).filter(
            lower_email=Lower(models.Value(email, output_field=models.CharField()))
        )

    def get_by_natural_key(self, username: str | None) -> "Member":
        """Find by e-mail, whatever its case."""
        return self.by_email(username or "").get()


class Member(AbstractBaseUser, PermissionsMixin):
    """A person who logs in. is_operator opens the operator's dashboard."""

    email = models.EmailField(max_length=254)
    language = models.CharField(max_length=8, default="en")
    is_operator = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[MemberManager] = MemberManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="one_login_per_email")]

    def __str__(self) -> str:
        return self.email

    @property
    def is_staff(self) -> bool:
        """Django's admin asks this; operators only."""
        return self.is_operator


class ApiToken(models.Model):
    """A program's credential: `stoa_<key_id>_<secret>`; only the secret's SHA-256 is kept.

    The secret has 190 random bits, so a fast hash is right. A token with is_operator may act
    on every tenant; otherwise it acts as its member.
    """

    key_id = models.CharField(max_length=16, unique=True)
    secret_sha256 = models.CharField(max_length=64)
    name = models.CharField(max_length=100)
    member = models.ForeignKey(
        Member, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens"
    )
    is_operator = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(member__isnull=False) | models.Q(is_operator=True),
                name="token_belongs_to_a_member_or_the_operator",
            )
        ]
