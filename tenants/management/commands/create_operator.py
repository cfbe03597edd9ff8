"""`manage.py create_operator EMAIL`: creates an operator's login, or gives one a new password."""

import os
import sys
from getpass import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.accounts import members
from tenants.errors import TenantsError


class Command(BaseCommand):
    """Creates a login. The password is asked for, read from a pipe, or generated and shown once."""

    help = "Make an operator's login, or give one a new password (--reset)."

    def add_arguments(self, parser: CommandParser) -> None:
        """The password is never an argument: those are seen by every process."""
        parser.add_argument("email")
        parser.add_argument("--reset", action="store_true", help="the login exists: new password")
        parser.add_argument("--random", action="store_true", help="make up a password and print it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the login, or say which argument is wrong and why."""
        password = members.new_password() if options["random"] else _asked()
        act = members.reset_operator if options["reset"] else members.create_operator
        try:
            member = act(options["email"], password)
        except TenantsError as error:
            raise CommandError(str(error)) from error
        if options["random"]:
            self.stdout.write(password)
        self.stderr.write(f"operator {member.email} may log in")


def _asked() -> str:
    if not os.isatty(sys.stdin.fileno()):
        return sys.stdin.readline().rstrip("\n")
    password = getpass("Password: ")
    if password != getpass("The same again: "):
        raise CommandError("the two passwords differ")
    return password
