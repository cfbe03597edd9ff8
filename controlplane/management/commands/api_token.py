"""`manage.py api_token create|list|revoke`: credentials for programs."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.accounts import tokens
from tenants.accounts.models import ApiToken, Member


class Command(BaseCommand):
    """Creates, lists and revokes API tokens."""

    help = "Make, list and revoke the tokens with which programs use the REST API."

    def add_arguments(self, parser: CommandParser) -> None:
        """One subcommand each."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a token and print it, this once")
        create.add_argument("name", help="what it is for, as the list will show it")
        create.add_argument(
            "--member", metavar="EMAIL", help="act as this member; without it: as operator, on all"
        )
        create.add_argument("--days", type=int, help="how long it works (until revoked)")
        verbs.add_parser("list", help="show every token that works")
        revoke = verbs.add_parser("revoke", help="make a token useless from now on")
        revoke.add_argument("key_id", help="the 12 characters after stoa_, as the list shows them")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run one verb. Raises CommandError that names the wrong argument."""
        getattr(self, f"_{options['verb']}")(options)

    def _create(self, options: dict[str, Any]) -> None:
        days, email = options["days"], options["member"]
        if days is not None and days <= 0:
            raise CommandError(f"--days is {days}; it must be 1 or more")
        member = Member.objects.filter(email__iexact=email).first() if email else None
        if email and member is None:
            raise CommandError(f"--member is {email!r}; no member has this e-mail address")
        made = tokens.create(
            options["name"],
            member=member,
            is_operator=member is None,
            lifetime=None if days is None else timedelta(days=days),
        )
        self.stdout.write(made.text)

    def _list(self, options: dict[str, Any]) -> None:
        found = ApiToken.objects.filter(revoked_at=None).select_related("member").order_by("pk")
        for token in found:
            used = f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never"
            until = f"{token.expires_at:%Y-%m-%d}" if token.expires_at else "revoked"
            who = token.member.email if token.member else "operator"
            self.stdout.write(f"{token.key_id}  {token.name}  as {who}, used {used}, until {until}")
        if not found:
            self.stdout.write("No token works. Make one: manage.py api_token create NAME")

    def _revoke(self, options: dict[str, Any]) -> None:
        token = ApiToken.objects.filter(key_id=options["key_id"]).first()
        if token is None:
            raise CommandError(
                f"key_id is {options['key_id']!r}; no token has it: see manage.py api_token list"
            )
        tokens.revoke(token)
        self.stdout.write(f"{token.key_id} works no longer")
