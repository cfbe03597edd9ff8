"""Which brakes hold which door, by whom: one place for all numbers of tries (docs/operating.md lists them).

Log-ins. An address has its own count, and so has an e-mail at an address: one who guesses is slowed down
wherever they start. An account that is attacked from many places allows fewer tries from each, and never
none: its owner gets in from a fresh address, and with a browser that was let in before they have a count
of their own that nobody else can use up.
"""

from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from tenants.accounts.models import Member
from tenants.core import brakes
from tenants.core.brakes import Rule
from tenants.http import visitors

QUARTER, HOUR = 15 * 60, 3600
LOGINS_OF_AN_ADDRESS = 6  # times STOA_LOGINS_PER_QUARTER: an office has one address
CALM_FAILURES = (
    3  # times STOA_LOGINS_PER_QUARTER: more wrong passwords for one account are an attack
)
TRIES_UNDER_ATTACK = 3
SOURCES_OF_A_SITE = 4  # times what an address may: all of an IPv6 /48 together
AVAILABILITY_PER_MINUTE = 120
REVEALS_PER_HOUR = 12
SNAPSHOTS_PER_HOUR = 12
BAD_TOKENS_PER_QUARTER = 120

_DEVICE_SECONDS = 365 * 24 * 3600
_SALT = "stoa.known-browser"


@dataclass(frozen=True, slots=True)
class LogIn:
    """One try to log in, counted. Say afterwards how it went."""

    _email: str
    _counted: tuple[Rule, ...]
    _is_known: bool

    def failed(self) -> None:
        """The password was wrong: this account may be under attack."""
        if not self._is_known:
            brakes.seconds_to_wait(_failures_of(self._email))

    def succeeded(self) -> None:
        """Take this one try back. Whoever has a login of their own wipes no other tries by it."""
        brakes.give_back(*self._counted)


def log_in(request: HttpRequest, email: str) -> LogIn:
    """Count a try to log in, before anything costly. Raises TooManyTriesError."""
    email, most = email.strip().lower(), settings.STOA_LOGINS_PER_QUARTER
    browser = _known_browser(request, email)
    if browser:
        own = Rule("login-browser", browser, most, QUARTER)
        brakes.count(own)
        return LogIn(email, (own,), _is_known=True)
    where = visitors.source_of(request)
    attacked = brakes.is_used_up(_failures_of(email))
    pair = Rule(
        "login", f"{where} {email}", min(most, TRIES_UNDER_ATTACK) if attacked else most, QUARTER
    )
    rules = (*_by_source("login-address", request, most * LOGINS_OF_AN_ADDRESS, QUARTER), pair)
    brakes.count(*rules)
    return LogIn(email, rules, _is_known=False)


def remember_browser(response: HttpResponseBase, member: Member) -> None:
    """Let this browser be known as one that the member has logged in with."""
    response.set_cookie(
        settings.STOA_BROWSER_COOKIE_NAME,
        signing.dumps([member.email.lower(), visitors.random_name()], salt=_SALT),
        max_age=_DEVICE_SECONDS,
        path="/",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def sign_up(request: HttpRequest, member: Member | None) -> None:
    """Count a sign-up that is no repeat and no operator's program's. Raises TooManyTriesError."""
    who = _by_source("sign-up", request, settings.STOA_SIGNUPS_PER_HOUR, HOUR)
    everybody = Rule("sign-up-all", "", settings.STOA_SIGNUPS_IN_ALL_PER_HOUR, HOUR)
    if member is None:
        brakes.count(*who, everybody)
        return
    of_member = Rule("sign-up-member", str(member.pk), settings.STOA_SIGNUPS_PER_HOUR, HOUR)
    brakes.count(*who, of_member, everybody)


def availability(request: HttpRequest) -> None:
    """Count a look whether an address is free. Raises TooManyTriesError."""
    brakes.count(*_by_source("availability", request, AVAILABILITY_PER_MINUTE, 60))


def reveal(tenant_id: str) -> None:
    """Count a question for a shop's first-login secret. Raises TooManyTriesError."""
    brakes.count(Rule("reveal", tenant_id, REVEALS_PER_HOUR, HOUR))


def snapshot(tenant_id: str) -> None:
    """Count a copy of a shop's data that somebody asks for. Raises TooManyTriesError."""
    brakes.count(Rule("snapshot", tenant_id, SNAPSHOTS_PER_HOUR, HOUR))


def bad_token(request: HttpRequest) -> None:
    """Count a token that does not work; one that does is never braked. Raises TooManyTriesError."""
    brakes.count(*_by_source("token", request, BAD_TOKENS_PER_QUARTER, QUARTER))


def _by_source(kind: str, request: HttpRequest, most: int, seconds: int) -> tuple[Rule, ...]:
    """By an address, and by the site it belongs to: one person may have all of its networks."""
    own = Rule(kind, visitors.source_of(request), most, seconds)
    site = brakes.site(visitors.client_address(request))
    if not site:
        return (own,)
    return own, Rule(f"{kind}-site", site, most * SOURCES_OF_A_SITE, seconds)


def _failures_of(email: str) -> Rule:
    return Rule("login-failed", email, settings.STOA_LOGINS_PER_QUARTER * CALM_FAILURES, QUARTER)


def _known_browser(request: HttpRequest, email: str) -> str:
    """Return the browser's own name, if it was let in as this e-mail before; "" otherwise."""
    cookie = request.COOKIES.get(settings.STOA_BROWSER_COOKIE_NAME, "")
    try:
        whose, name = signing.loads(cookie, salt=_SALT, max_age=_DEVICE_SECONDS)
    except (signing.BadSignature, ValueError, TypeError):
        return ""
    return str(name) if whose == email else ""
