"""What an operator must look at: raised while it is true, closed when it no longer is."""

from collections.abc import Mapping

from django.db import transaction
from django.db.models.functions import Now

from tenants.core import notices
from tenants.core.models import Alarm, Notice


@transaction.atomic
def keep(kind: str, true_now: Mapping[str, str]) -> None:
    """Make the open alarms of one kind exactly those of true_now.

    kind: what comes before the first dot of their keys. true_now: message by key. An alarm that stays keeps
    the time since when it is true; one that comes back starts anew. What begins and what ends is also sent
    by mail and webhook (core/notices.py).
    """
    messages = {key: message[:500] for key, message in true_now.items()}
    opened = dict(
        Alarm.objects.select_for_update()
        .filter(key__startswith=f"{kind}.", cleared_at=None)
        .values_list("key", "message")
    )
    over = {key: message for key, message in opened.items() if key not in messages}
    new = {key: message for key, message in messages.items() if key not in opened}
    reworded = {
        key: message for key, message in messages.items() if opened.get(key, message) != message
    }
    if over:
        Alarm.objects.filter(key__in=over).update(cleared_at=Now())
        notices.add(Notice.Kind.CLOSED, over)
    if new:
        _write(new, "message", "since", "cleared_at")
        notices.add(Notice.Kind.OPENED, new)
    if reworded:
        _write(reworded, "message")


@transaction.atomic
def begin(key: str, message: str) -> None:
    """Raise one alarm at once; the next `keep` of its kind lets it stand or closes it."""
    if not Alarm.objects.select_for_update().filter(key=key, cleared_at=None).exists():
        new = {key: message[:500]}
        _write(new, "message", "since", "cleared_at")
        notices.add(Notice.Kind.OPENED, new)


def _write(messages: Mapping[str, str], *fields: str) -> None:
    Alarm.objects.bulk_create(
        [Alarm(key=key, message=message, since=Now()) for key, message in messages.items()],
        update_conflicts=True,
        unique_fields=["key"],
        update_fields=fields,
    )
