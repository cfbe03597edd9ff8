"""`manage.py create_token NAME`: a credential for a program, printed once."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.accounts import tokens
from tenants.accounts.models import Member


class Command(BaseCommand):
    """A token acts as a member, or on every tenant."""

    help = "Make an API token and print it; it cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Either --operator or --member says for whom the token acts."""
        parser.add_argument("name", help="what the token is for, at most 100 characters")
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--operator", action="store_true", help="it may act on every tenant")
        who.add_argument("--member", metavar="EMAIL", help="it acts as this member")
        parser.add_argument("--days", type=int, help="how long it works; default: until revoked")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the token on stdout, alone."""
        if not 1 <= len(options["name"]) <= 100:
            raise CommandError("name must have 1 to 100 characters")
        if options["days"] is not None and not 1 <= options["days"] <= 3650:
            raise CommandError(f"--days is {options['days']}; it must be 1 to 3650")
        member = None
        if options["member"]:
            member = Member.objects.by_email(options["member"]).first()
            if member is None:
                raise CommandError(f"there is no member with the login {options['member']}")
        made = tokens.create(
            options["name"],
            member=member,
            is_operator=options["operator"],
            lifetime=timedelta(days=options["days"]) if options["days"] else None,
        )
        self.stdout.write(made.text)
