"""Freeze switches: an operator stops one kind of automatic work, with a reason, until it may go on."""

from django.db import transaction
from django.db.models.functions import Now

from tenants.core.models import FreezeSwitch
from tenants.errors import FieldError


def set_switch(name: str, *, is_on: bool, reason: str, changed_by: str) -> FreezeSwitch:
    """Turn the switch `name` (a FreezeSwitch.Name) on or off.

    reason: shown to every operator; needed to turn it on. changed_by: who did it, an e-mail address
    or the name of a program. Raises FieldError.
    """
    if name not in FreezeSwitch.Name.values:
        raise FieldError(
            f"{name[:40]!r} is not a switch; known are {', '.join(FreezeSwitch.Name.values)}",
            field="name",
        )
    reason = reason.strip()[:300]
    if is_on and not reason:
        raise FieldError("say why, so that the next operator knows", field="reason")
    with transaction.atomic():
        switch, _ = FreezeSwitch.objects.update_or_create(
            name=name,
            defaults={
                "is_on": is_on,
                "reason": reason,
                "changed_by": changed_by[:254],
                "changed_at": Now(),
            },
        )
        switch.refresh_from_db()
    return switch


def is_on(name: str) -> bool:
    """Return whether this kind of work is stopped."""
    return FreezeSwitch.objects.filter(name=name, is_on=True).exists()
