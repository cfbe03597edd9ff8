"""Slows down clients that try too often: one count for all processes, in PostgreSQL and by its clock.

A rule is a bucket that holds `most` tries and empties evenly within `seconds`. Nobody is ever locked out:
a client that has used up a bucket is refused with the seconds to wait, `seconds` divided by `most` at most.
A count can be neither wiped nor evicted. A try counts before anything else is done with it.
"""

import hashlib
import math
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from django.db import connection
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from tenants.core.models import Brake
from tenants.errors import TooManyTriesError

# Of an IPv6 network everybody has at least so much.
_IPV6_PREFIX = 64
# And many have a whole site of 65,536 such networks for the asking.
_IPV6_SITE = 48


@dataclass(frozen=True, slots=True)
class Rule:
    """At most so many tries of this kind by this subject within so many seconds. most 0: no limit."""

    kind: str
    subject: str
    most: int
    seconds: int

    @property
    def key(self) -> str:
        """Return the key of the count; plain text, whatever bytes the subject holds."""
        text = f"{self.kind}\n{self.subject}".encode(errors="surrogatepass")
        return hashlib.sha256(text).hexdigest()

    @property
    def each(self) -> float:
        """Return after how many seconds one try is forgotten."""
        return self.seconds / self.most


def source(address: str) -> str:
    """Return the source that an address counts as: an IPv4 address itself, an IPv6 address its /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, _IPV6_PREFIX), strict=False))


def site(address: str) -> str:
    """Return the /48 of an IPv6 address, whose networks one person may have; "" for any other."""
    found = source(address)
    if ":" not in found or "/" not in found:
        return ""
    return str(IPv6Network(found).supernet(new_prefix=_IPV6_SITE))


def count(*rules: Rule) -> None:
    """Count one try by every rule, in one statement. Raises TooManyTriesError, counting by none.

    Only where two race for the last place may a try count by some rules and be refused by another.
    """
    wait = seconds_to_wait(*rules)
    if wait:
        raise TooManyTriesError(words(wait), wait_seconds=wait)


def seconds_to_wait(*rules: Rule) -> int:
    """Count a try, as `count`. Returns the seconds to wait instead of raising; 0 if the try may go on."""
    rows = sorted((rule.key, rule.each, float(rule.seconds)) for rule in rules if rule.most > 0)
    if not rows:
        return 0
    keys, each, seconds = (list(column) for column in zip(*rows, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [keys, each, seconds])
        counted, wait = cursor.fetchone()
    if counted == len(rows):
        return 0
    return int(max(1, math.ceil(wait if wait is not None else min(each))))


def is_used_up(rule: Rule) -> bool:
    """Return whether the next try by this rule would be refused. Counts nothing."""
    if rule.most <= 0:
        return False
    with connection.cursor() as cursor:
        cursor.execute(_USED_UP, [rule.each, float(rule.seconds), rule.key])
        return cursor.fetchone() is not None


def give_back(*rules: Rule) -> None:
    """Take back one try counted by each of these rules: it was no guess."""
    rows = sorted((rule.key, rule.each) for rule in rules if rule.most > 0)
    if rows:
        keys, each = (list(column) for column in zip(*rows, strict=True))
        with connection.cursor() as cursor:
            cursor.execute(_GIVE_BACK, [keys, each])


def forget_old(limit: int) -> int:
    """Delete up to so many counts that mean nothing any more; how many."""
    over = Brake.objects.filter(paid_until__lt=Now()).order_by("paid_until")
    return Brake.objects.filter(pk__in=list(over.values_list("pk", flat=True)[:limit])).delete()[0]


def words(wait_seconds: int) -> str:
    """Return the sentence for a person who has to wait."""
    minutes = -(-wait_seconds // 60)
    if wait_seconds < 60:
        return _("Too many tries. Please try again in %(seconds)d seconds.") % {
            "seconds": wait_seconds
        }
    return _("Too many tries. Please try again in %(minutes)d minutes.") % {"minutes": minutes}


_COUNT = """
WITH asked AS (
    SELECT * FROM unnest(%s::text[], %s::float8[], %s::float8[]) AS rule (key, each, seconds)
), used_up AS (
    SELECT max(extract(epoch FROM brake.paid_until - clock_timestamp()) + each - seconds) AS wait
    FROM asked JOIN tenants_brake brake USING (key)
    WHERE brake.paid_until + make_interval(secs => each)
        > clock_timestamp() + make_interval(secs => seconds)
), counted AS (
    INSERT INTO tenants_brake AS brake (key, paid_until)
    SELECT key, clock_timestamp() + make_interval(secs => each) FROM asked
    WHERE (SELECT wait FROM used_up) IS NULL
    ORDER BY key
    ON CONFLICT (key) DO UPDATE
    SET paid_until = greatest(brake.paid_until, clock_timestamp())
        + (SELECT make_interval(secs => each) FROM asked WHERE asked.key = brake.key)
    WHERE brake.paid_until <= clock_timestamp()
        + (SELECT make_interval(secs => seconds - each) FROM asked WHERE asked.key = brake.key)
    RETURNING 1
)
SELECT (SELECT count(*) FROM counted), (SELECT wait FROM used_up)
"""

_GIVE_BACK = """
UPDATE tenants_brake brake SET paid_until = paid_until - make_interval(secs => each)
FROM unnest(%s::text[], %s::float8[]) AS rule (key, each)
WHERE rule.key = brake.key
"""

_USED_UP = """
SELECT 1 FROM tenants_brake
WHERE paid_until + make_interval(secs => %s) > clock_timestamp() + make_interval(secs => %s) AND key = %s
"""
