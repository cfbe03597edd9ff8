"""What an operator must look at: raised while it is true, closed when it no longer is."""

from collections.abc import Mapping

from django.db import transaction
from django.db.models.functions import Now

from tenants.core import alarm_kinds, notices
from tenants.core.models import Alarm, Notice


@transaction.atomic
def keep(group: str, true_now: Mapping[str, str]) -> None:
    """Make the open alarms of one group exactly those of true_now.

    true_now: message by key (core/alarm_kinds.py). An alarm that stays keeps the time since when it is true;
    an alarm that comes back starts anew. What begins and what ends is also sent by mail and webhook
    (core/notices.py).
    """
    _check(group, true_now)
    messages = {key: message[:500] for key, message in true_now.items()}
    opened = dict(
        Alarm.objects.select_for_update()
        .filter(key__startswith=f"{group}.", cleared_at=None)
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
    """Raise one alarm at once; the next `keep` of its group lets it stand or closes it."""
    _check(key.partition(".")[0], {key: message})
    if not Alarm.objects.select_for_update().filter(key=key, cleared_at=None).exists():
        new = {key: message[:500]}
        _write(new, "message", "since", "cleared_at")
        notices.add(Notice.Kind.OPENED, new)


def _check(group: str, messages: Mapping[str, str]) -> None:
    """Refuse keys that no kind of the group makes: nobody would know what to do about such an alarm."""
    for key in messages:
        kind = alarm_kinds.of(key)
        if kind is None or kind.group != group:
            raise ValueError(
                f"{key} is no alarm of {group}: declare it in tenants/core/alarm_kinds.py"
            )


def _write(messages: Mapping[str, str], *fields: str) -> None:
    Alarm.objects.bulk_create(
        [Alarm(key=key, message=message, since=Now()) for key, message in messages.items()],
        update_conflicts=True,
        unique_fields=["key"],
        update_fields=fields,
    )
