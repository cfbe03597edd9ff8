"""Whether there is room for one more: asked before a sign-up is written, kept in the record while not.

Two looks. `check` is for every sign-up: cheap, from what is booked, less those that wait for a place
already. What only the scheduler can tell (workers/reconcilers/capacity_check.py) is a row, Shortage: with it
sign-ups are turned away at once, an alarm stands open and the form is closed; without it they are taken. A
row that nobody has looked at for a while says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from tenants.catalogue.models import App, Plan
from tenants.core import metrics
from tenants.core.alarm_kinds import POOL_FULL
from tenants.errors import NoRoomError
from tenants.placement.bookings import MOST_INSTANCES, Booking
from tenants.placement.models import Shortage

BELIEVED_FOR = timedelta(seconds=30)
# More who wait than this are not counted: then there is room for many, or none.
MOST_COUNTED = 5000
# With so little room left sign-ups are taken one after another, so that they count each other.
NEARLY_FULL = 64
# One of so many that wait is given room besides.
GROWTH = 25
# As workers.scheduler.demand_vector.Rules; a test compares.
PROCESSOR_SHARE = 0.9
BUSY_SHARE = 0.95

_RESOURCES = (
    gettext_noop("processor"),
    gettext_noop("memory"),
    gettext_noop("disk"),
    gettext_noop("instances"),
    gettext_noop("open hosts"),
    gettext_noop("sound disks"),
)

# Per open host how often the booking fits, by resource; the least of them counts.
_LEFT = f"""
WITH fit AS (
    SELECT floor(({PROCESSOR_SHARE} * (capacity_cpu_millis - reserve_cpu_millis) - booked_cpu_millis)
                 / greatest(%(cpu)s, 0.001)) AS processor,
           floor((capacity_memory_bytes - reserve_memory_bytes - booked_memory_bytes)
                 / greatest(%(memory)s, 1)::float8) AS memory,
           floor((capacity_disk_bytes - reserve_disk_bytes - booked_disk_bytes)
                 / greatest(%(disk)s, 1)::float8) AS disk,
           least({MOST_INSTANCES}, last_port - first_port + 1) - placed AS instances
      FROM tenants_host AS host LEFT JOIN tenants_hostreport AS report ON report.host_id = host.id
     WHERE state = 'open' AND health <> 'lost'
       AND NOT coalesce(conditions @> '[{{"kind": "disk_low"}}]' OR conditions @> '[{{"kind": "disk_full"}}]'
                        OR conditions @> '[{{"kind": "disk_unfit"}}]', FALSE)
       AND coalesce(used_memory_bytes <= {BUSY_SHARE} * capacity_memory_bytes, TRUE)
)
SELECT (SELECT scarce FROM tenants_shortage
         WHERE app_id = %(app)s AND plan_id = %(of_plan)s
           AND looked_at > statement_timestamp() - %(believed)s * interval '1 second'),
       (SELECT count(*) FROM tenants_host WHERE state <> 'removed'), count(*),
       coalesce(sum(greatest(0, least(processor, memory, disk, instances))), 0)::bigint,
       coalesce(sum(greatest(0, processor)), 0), coalesce(sum(greatest(0, memory)), 0),
       coalesce(sum(greatest(0, disk)), 0), coalesce(sum(greatest(0, instances)), 0)
  FROM fit
"""  # noqa: S608
_WAIT_FOR_A_PLACE = """
SELECT count(*) FROM (
    SELECT 1 FROM tenants_operation AS operation
     WHERE state IN ('pending', 'running') AND verb = 'provision'
       AND NOT EXISTS (SELECT 1 FROM tenants_placement AS placement
                        WHERE placement.instance_id = operation.instance_id AND until IS NULL)
     LIMIT %s) AS few
"""


@dataclass(frozen=True, slots=True)
class Left:
    """How many more of a booking fit into the pool by what is booked, and what runs out first.

    None of a pool without any host: it is not full but unseen, and an operation waits for a host. Also 0
    where the record says that there is no room.
    """

    count: int | None
    scarce: str


def left(booking: Booking, app_id: int = 0, plan_id: int = 0) -> Left:
    """Look at all hosts, and at what is known of an app on a plan; one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            _LEFT,
            {
                "cpu": booking.least_cpu_millis,
                "memory": booking.memory_bytes,
                "disk": booking.disk_bytes,
                "app": app_id,
                "of_plan": plan_id,
                "believed": BELIEVED_FOR.total_seconds(),
            },
        )
        known, hosts, fit, count, *by_resource = cursor.fetchone()
    if known is not None:
        return Left(0, known)
    if not hosts:
        return Left(None, "")
    if not fit:
        return Left(0, "open hosts")
    return Left(count, _RESOURCES[by_resource.index(min(by_resource))])


def scarce(app_id: int, plan_id: int, booking: Booking, *, spare: int = 0) -> str:
    """Return the resource for want of which a sign-up now would be turned away; "" where it would be taken.

    spare: so many more are to find room after it.
    """
    found = left(booking, app_id, plan_id)
    if found.count is None or found.count > MOST_COUNTED:
        return ""
    if found.count and _waiting() + spare < found.count:
        return ""
    return found.scarce


def check(app: App, plan: Plan, booking: Booking) -> None:
    """Raise NoRoomError, which names the scarce resource, when a sign-up now would find no room.

    To be called in the transaction that writes the sign-up: near the end they are counted one by one.
    """
    if not scarce(app.pk, plan.pk, booking, spare=NEARLY_FULL):
        return
    with connection.cursor() as cursor:  # until the end of the transaction
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('room'))")
    lacking = scarce(app.pk, plan.pk, booking)
    if not lacking:
        return
    metrics.REFUSALS.labels("sign_up", lacking).inc()
    raise NoRoomError(
        _(
            "There is no room for another shop right now: there is no %(scarce)s left. Please try "
            "again later."
        )
        % {"scarce": _(lacking)}
    )


def _waiting() -> int:
    """Return how much room is promised to those who wait for a place, in bookings of today's size."""
    with connection.cursor() as cursor:
        cursor.execute(_WAIT_FOR_A_PLACE, [MOST_COUNTED])
        count: int = cursor.fetchone()[0]
    # While many wait, what one is expected to use may be found to be more.
    return count + count // GROWTH


def is_full(app_slug: str) -> bool:
    """Return whether there is room for an app on none of the plans that are sold."""
    short = Shortage.objects.filter(
        plan=OuterRef("pk"), app__slug=app_slug, looked_at__gt=Now() - BELIEVED_FOR
    )
    sold = Plan.objects.filter(is_public=True).annotate(is_short=Exists(short))
    found = list(sold.values_list("is_short", flat=True))
    return bool(found) and all(found)


def refused(app_id: int, plan_id: int) -> None:
    """Count a sign-up that was turned away, for the alarm; a shortage not in the record yet counts none."""
    Shortage.objects.filter(app=app_id, plan=plan_id).update(refused=F("refused") + 1)


def note_full(app_id: int, plan_id: int, *, scarce: str, sentence: str, refused: int = 0) -> None:
    """Keep in the record that there is no room, from now on or still."""
    row, _is_new = Shortage.objects.get_or_create(
        app_id=app_id, plan_id=plan_id, defaults={"scarce": scarce[:20], "told": sentence[:300]}
    )
    Shortage.objects.filter(pk=row.pk).update(
        scarce=scarce[:20], told=sentence[:300], looked_at=Now(), refused=F("refused") + refused
    )


def note_room(app_id: int, plan_id: int) -> None:
    """There is room again."""
    Shortage.objects.filter(app=app_id, plan=plan_id).delete()


def shortages() -> Sequence[Shortage]:
    """Return the app plans without room, since when, and how many sign-ups were refused."""
    return list(Shortage.objects.select_related("app", "plan").order_by("pk"))


def alarms() -> dict[str, str]:
    """Alarms about a full pool, by what they are called."""
    return {
        POOL_FULL.key(shortage.app.slug, shortage.plan.slug): (
            f"the pool is full for {shortage.app.slug} on {shortage.plan.slug}: {shortage.told}; "
            f"{shortage.refused} sign-ups refused since {shortage.since:%Y-%m-%d %H:%M} UTC. "
            "Add a host (stoa host token create), uncordon one, or remove old shops (see stoa pool)"
        )
        for shortage in shortages()
    }
