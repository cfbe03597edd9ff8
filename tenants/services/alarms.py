"""What an operator must look at: raised while it is true, closed when it no longer is."""

from collections.abc import Mapping

from django.db import transaction
from django.db.models.functions import Now

from tenants.models import Alarm


@transaction.atomic
def keep(kind: str, true_now: Mapping[str, str]) -> None:
    """Make the open alarms of one kind exactly those of true_now.

    kind: what comes before the first dot of their keys. true_now: message by key. An alarm that
    stays keeps the time since when it is true; one that comes back starts anew.
    """
    opened = dict(
        Alarm.objects.filter(key__startswith=f"{kind}.", cleared_at=None).values_list(
            "key", "message"
        )
    )
    over = opened.keys() - true_now.keys()
    if over:
        Alarm.objects.filter(key__in=over).update(cleared_at=Now())
    for key, message in true_now.items():
        if key not in opened:
            begin(key, message)
        elif opened[key] != message[:500]:
            Alarm.objects.filter(key=key).update(message=message[:500])


@transaction.atomic
def begin(key: str, message: str) -> None:
    """Raise one alarm at once; the next `keep` of its kind lets it stand or closes it."""
    if not Alarm.objects.filter(key=key, cleared_at=None).exists():
        Alarm.objects.update_or_create(
            key=key, defaults={"message": message[:500], "since": Now(), "cleared_at": None}
        )
