"""Notices of alarms: written down with the alarm's change, handed to a channel in batches, tried again."""

import random
from collections.abc import Collection, Mapping
from datetime import timedelta
from secrets import token_hex

from django.conf import settings
from django.db.models import F, Max
from django.db.models.functions import Now

from tenants.core.alarm_kinds import CHANNEL_FAILS
from tenants.core.models import Notice

# One message holds all that is due: a storm of alarms is a digest.
MOST_AT_ONCE = 1000
# So long a channel rests after a message: alarms that come and go are sent together.
REST = {Notice.Channel.MAIL: timedelta(seconds=60), Notice.Channel.WEBHOOK: timedelta()}
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 10.0, 900.0
TROUBLED_AFTER = 3  # attempts, until the channel itself is an alarm on the pages


def channels() -> list[Notice.Channel]:
    """Return where alarms are sent: mail always (or a directory, without a mail server), a webhook if one
    is set.
    """
    return [
        Notice.Channel.MAIL,
        *([Notice.Channel.WEBHOOK] if settings.STOA_ALARM_WEBHOOK else []),
    ]


def add(kind: Notice.Kind, messages: Mapping[str, str]) -> None:
    """Queue a notice for every channel, sent once the transaction ends well. messages: by the alarm's key."""
    Notice.objects.bulk_create(
        Notice(channel=channel, kind=kind, key=key, message=message[:500])
        for channel in channels()
        for key, message in messages.items()
    )


def add_test(by: str) -> str:
    """Send a test to every channel; return the key of those notices."""
    key = f"test.{token_hex(6)}"
    add(Notice.Kind.TEST, {key: f"this is a test alarm, requested by {by}"})
    return key


def due(channel: Notice.Channel) -> list[Notice]:
    """Return what is to be sent by the channel now, oldest first; nothing while it rests."""
    waiting = Notice.objects.filter(channel=channel, sent_at=None)
    if waiting.filter(run_after__gt=Now()).exists():
        return []  # it failed a moment ago, and what has come since waits with the rest
    if rest := REST[channel]:
        delivered_lately = Notice.objects.filter(channel=channel, sent_at__gt=Now() - rest)
        if delivered_lately.exclude(kind=Notice.Kind.TEST).exists():
            waiting = waiting.filter(kind=Notice.Kind.TEST)
    return list(waiting.order_by("pk")[:MOST_AT_ONCE])


def delivered(notices: Collection[Notice]) -> None:
    """Note that the channel has taken these."""
    Notice.objects.filter(pk__in=[notice.pk for notice in notices]).update(sent_at=Now(), error="")


def failed(notices: Collection[Notice], error: str) -> float:
    """Note that the channel did not take these; return in how many seconds it is tried again."""
    attempts = max(notice.attempts for notice in notices)
    doubled: float = FIRST_PAUSE_SECONDS * 2.0 ** min(attempts, 20)
    pause = min(LONGEST_PAUSE_SECONDS, doubled) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
    Notice.objects.filter(pk__in=[notice.pk for notice in notices]).update(
        attempts=F("attempts") + 1,
        run_after=Now() + timedelta(seconds=pause),
        error=error[:300],
    )
    return pause


def troubles() -> dict[str, str]:
    """Alarms about channels that do not accept notices."""
    waiting = (
        Notice.objects.filter(sent_at=None, attempts__gte=TROUBLED_AFTER)
        .order_by()
        .values("channel")
        .annotate(last=Max("pk"))
    )
    errors = Notice.objects.in_bulk([row["last"] for row in waiting])
    return {
        CHANNEL_FAILS.key(
            notice.channel
        ): f"alarms cannot be sent by {notice.channel}: {notice.error}"
        for notice in errors.values()
    }
