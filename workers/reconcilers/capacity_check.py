"""Asks the scheduler whether a sign-up would find a place, and keeps the answer in the record.

Every round looks at what the catalogue sells of the app that merchants sign up for, and at everything that
was found to have no room. So the form closes before somebody has filled it in, and opens by itself.
"""

from collections.abc import Iterator

from tenants.catalogue.models import Plan, Release
from tenants.core import alarms
from tenants.placement import bookings, shortages
from tenants.shops.signups import DEFAULT_APP
from workers import scheduler
from workers.leases.periodic import once
from workers.pool import mapping, reader
from workers.scheduler import InstanceView, PoolView, Unplaced

_PROBE = "a sign-up"


def decide(release: Release, plan: Plan, pool: PoolView | None = None) -> scheduler.Decision:
    """Return where a new instance of the release would go on this plan now. pool: as it was read before."""
    booking = bookings.cold_booking(release, plan)
    view = InstanceView(_PROBE, mapping.demand_row(booking))
    return scheduler.place(view, reader.read() if pool is None else pool)


@once("room")
def look() -> str:
    """Look at everything that is sold; open and close shortages and their alarms."""
    full, pool = 0, reader.read()
    for release, plan in _sold():
        answer = decide(release, plan, pool)
        if not isinstance(answer, Unplaced):
            shortages.note_room(release.app_id, plan.pk)
        elif answer.why == "full":
            full += 1
            shortages.note_full(release.app_id, plan.pk, scarce=answer.scarce, sentence=answer.told)
        # Busy or unseen says nothing about room: what was known stays, and is forgotten by its age.
    alarms.keep("pool_full", shortages.alarms())
    return f"no room for {full} kinds of shops" if full else ""


def _sold() -> Iterator[tuple[Release, Plan]]:
    known = {(shortage.app_id, shortage.plan_id) for shortage in shortages.shortages()}
    newest = _newest(DEFAULT_APP)
    if newest is not None:
        for plan in Plan.objects.filter(is_public=True):
            known.discard((newest.app_id, plan.pk))
            yield newest, plan
    for app_id, plan_id in sorted(known):
        release = Release.objects.filter(app=app_id).order_by("-number").first()
        if release is not None:
            yield release, Plan.objects.get(pk=plan_id)


def _newest(app_slug: str) -> Release | None:
    return Release.objects.filter(app__slug=app_slug).order_by("-number").first()
