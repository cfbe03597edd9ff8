"""Every kind of alarm, declared once. Pages, API, CLI, mails and docs/alarms.md take their words from here.

A key is made by a kind (`HOST_LOST.key(name)`), so no alarm can be raised that is not in this table.
`python3 docs/alarms.py >docs/alarms.md` writes the document; a test compares.
"""

import re
from dataclasses import dataclass

from django.db.models import TextChoices
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

_NAME = re.compile(r"<(\w+)>")


class Severity(TextChoices):
    """CRITICAL: shops, their data or sign-ups suffer now. WARNING: they will when nobody acts."""

    CRITICAL = "critical", _("Critical")
    WARNING = "warning", _("Warning")


@dataclass(frozen=True, slots=True)
class AlarmKind:
    """pattern: of its keys, with <names> in it. ends: when the alarm closes.

    The operator's overview shows it. With <host> in its pattern, so does that host's page.
    at_shop: the shop's own page says it too, in words for merchants.
    """

    pattern: str
    severity: Severity
    title: str | Promise
    remedy: str | Promise
    ends: str
    at_shop: bool = False

    def key(self, *names: object) -> str:
        """Return the key of one alarm. names: in the order of the pattern."""
        literals = _NAME.split(self.pattern)[::2]
        return literals[0] + "".join(
            f"{name}{literal}" for name, literal in zip(names, literals[1:], strict=True)
        )

    @property
    def group(self) -> str:
        """What comes before the first dot. Open alarms of one group are kept by one call."""
        return self.pattern.partition(".")[0]

    def names(self, key: str) -> dict[str, str] | None:
        """Return the names in a key, by the pattern; None for a key of another kind."""
        found = re.fullmatch(_NAME.sub(r"(?P<\1>[^.]+)", re.escape(self.pattern)), key)
        return found and found.groupdict()


BROKER_CROWD = AlarmKind(
    "broker.crowd",
    Severity.WARNING,
    _("Strangers connect to the broker"),
    _("Check who connects to the broker's port. Let only hosts reach it."),
    "when fewer than half of the broker's connections are in use",
)
BROKER_SHARE = AlarmKind(
    "broker.<part>.<name>",
    Severity.WARNING,
    _("An agent holds too much on the broker"),
    _("Check this agent: it may be faulty, or another person may control it."),
    "when the agent holds no more than its share",
)
CERTIFICATE = AlarmKind(
    "certificate.<name>",
    Severity.WARNING,
    _("A certificate ends soon"),
    _("Run bin/up: it renews the certificate."),
    "when the certificate is renewed",
)
DATA_MISSING = AlarmKind(
    "data.missing",
    Severity.CRITICAL,
    _("Data is missing"),
    _("Mount or bring back the volumes, or choose for each shop: stoa tenants data NAME."),
    "when no shop is without its data",
    at_shop=True,
)
DATA_WAITING = AlarmKind(
    "data.waiting",
    Severity.CRITICAL,
    _("Shops wait for their data"),
    _("The alarm says why. Bring back the repository, add room, or update the host's agent."),
    "when no shop has waited for its data for more than a minute",
)
ROUTES_REFUSED = AlarmKind(
    "edge.<edge>.refused",
    Severity.CRITICAL,
    _("An edge refuses routes"),
    _("Compare STOA_EDGE_NETWORKS and STOA_PORTS with the host's. Only these shops are away."),
    "when the edge serves all its routes",
)
HOST_AHEAD = AlarmKind(
    "health.ahead.<host>",
    Severity.CRITICAL,
    _("A host is newer than the database"),
    _("Check whether an old backup was restored, before you join the host again."),
    "when the host and the database know the same epoch",
)
HOST_LOST = AlarmKind(
    "health.lost.<host>",
    Severity.CRITICAL,
    _("A host is lost"),
    _("Its shops start elsewhere. Bring the host back, or give it up: stoa host forget NAME."),
    "when the host reports again, or is forgotten",
)
MANY_SILENT = AlarmKind(
    "health.many_silent",
    Severity.CRITICAL,
    _("Many hosts are silent at once"),
    _("Mend the network. No host is declared lost meanwhile; you can: stoa host lost NAME."),
    "when fewer hosts are silent",
)
SHOPS_STRANDED = AlarmKind(
    "health.waiting.<host>",
    Severity.CRITICAL,
    _("Shops wait for a lost host"),
    _("Bring the host back, add room, or choose what becomes of each shop's data."),
    "when no shop waits for the host",
)
DISK_LOW = AlarmKind(
    "host.<host>.<place>.disk_low",
    Severity.WARNING,
    _("A host's disk is almost full"),
    _("Of the store: python -m runtime store grow 40G, or add a host. Else move logs and images."),
    "when the disk is below STOA_DISK_LOW_PERCENT",
)
DISK_FULL = AlarmKind(
    "host.<host>.<place>.disk_full",
    Severity.CRITICAL,
    _("A host's disk is full"),
    _("Of the store: python -m runtime store grow 40G, or add a host. Else move logs and images."),
    "when the disk is below STOA_DISK_FULL_PERCENT",
)
DISK_UNFIT = AlarmKind(
    "host.<host>.<place>.disk_unfit",
    Severity.CRITICAL,
    _("A host's store is not mounted"),
    _("Run bin/up on this host, or python -m runtime store up: it mounts the store."),
    "when the store is mounted",
)
HOST_CONDITION = AlarmKind(
    "host.<host>.<place>.other",
    Severity.WARNING,
    _("A host reports a problem"),
    _("The alarm says what the host has found. Look at the machine."),
    "when the host no longer reports it",
)
CHANNEL_FAILS = AlarmKind(
    "notices.<channel>",
    Severity.WARNING,
    _("Alarms cannot be sent"),
    _("The alarm says why. Check the mail server or the webhook, then: stoa alarm test."),
    "when the channel takes a message",
)
OUTAGE = AlarmKind(
    "outage.<part>",
    Severity.CRITICAL,
    _("A part of the control plane is down"),
    _("See /readyz for the part that is unwell, then its log in var/logs."),
    "when the part answers again",
)
POOL_FULL = AlarmKind(
    "pool_full.<app>.<plan>",
    Severity.CRITICAL,
    _("The pool is full"),
    _("Add a host (stoa host token create), uncordon one, or remove old shops."),
    "within seconds, when there is room",
)
UNOWNED = AlarmKind(
    "reconcile.<host>",
    Severity.CRITICAL,
    _("A host and the database differ"),
    _("Check whether an old backup was restored. No container is stopped meanwhile."),
    "when few containers of the host are not in the database",
)
UNOWNED_LEFT = AlarmKind(
    "reconcile.<host>.left",
    Severity.WARNING,
    _("Containers could not be stopped"),
    _("The alarm says why. Look at var/logs/host-agent.log on the host."),
    "when the containers are gone",
)
UNOWNED_NEWER = AlarmKind(
    "reconcile.<host>.newer",
    Severity.WARNING,
    _("Containers are newer than the restored backup"),
    _("These shops have no route. Sign them up anew, or end them on their host."),
    "when the containers are gone",
)
MANY_SICK = AlarmKind(
    "reconcile.<host>.sick",
    Severity.CRITICAL,
    _("Many shops of a host do not answer"),
    _("Look at the host and its network first. No shop is started again meanwhile."),
    "when few shops of the host are in trouble",
)
REPORT_REFUSED = AlarmKind(
    "report.<part>.<name>",
    Severity.WARNING,
    _("A report was refused"),
    _("Update the agent of this machine. If its version is right, check the machine."),
    "when the agent sends a report that is accepted",
)
RESTORED = AlarmKind(
    "restored.record",
    Severity.CRITICAL,
    _("Restored from a backup"),
    _("Look at what hosts run (stoa control unknown), then let work go on: stoa control thaw."),
    "after the thaw",
)
HOST_SILENT = AlarmKind(
    "silent.host.<host>",
    Severity.WARNING,
    _("A host does not report"),
    _("Look at the machine, its network and var/logs/host-agent.log."),
    "when the host reports",
)
EDGE_SILENT = AlarmKind(
    "silent.edge.<edge>",
    Severity.WARNING,
    _("An edge does not report"),
    _("Look at the machine, its network and var/logs/edge-agent.log."),
    "when the edge reports",
)
SNAPSHOTS_ANEW = AlarmKind(
    "snapshots.anew",
    Severity.WARNING,
    _("Copies are of volumes that began empty"),
    _("Ask the owner. Go back to an earlier copy, or accept: stoa snapshots accept SLUG."),
    "when the newest copies are accepted, or like those before",
    at_shop=True,
)
SNAPSHOTS_DAMAGED = AlarmKind(
    "snapshots.damaged",
    Severity.CRITICAL,
    _("Copies of data are damaged"),
    _("Look at the disk of the repository. New full copies are made at once."),
    "a day after the last one was found, when it is forgotten",
)
SNAPSHOTS_LATE = AlarmKind(
    "snapshots.late",
    Severity.WARNING,
    _("Copies of data are late"),
    _("Check that hosts reach the depot, and that the repository is mounted and has room."),
    "when every shop has a copy of the last two periods",
)
SNAPSHOTS_SHRUNK = AlarmKind(
    "snapshots.shrunk",
    Severity.WARNING,
    _("Copies are much smaller than before"),
    _("Ask the owner. Go back to an earlier copy, or accept: stoa snapshots accept SLUG."),
    "when the newest copies are accepted, or like those before",
    at_shop=True,
)
SNAPSHOTS_UNUSABLE = AlarmKind(
    "snapshots.unusable",
    Severity.WARNING,
    _("Copies could not be loaded"),
    _("Move the shop to another host, then look at the first host's memory and disk."),
    "when these shops have newer copies, and the doubtful ones are gone",
)
NOT_ANSWERING = AlarmKind(
    "trouble.<host>.not_answering",
    Severity.WARNING,
    _("Shops do not answer"),
    _("A shop that hangs is repaired. If it goes on, look at the shop's log."),
    "when the shops answer",
)
UNPLUGGED = AlarmKind(
    "trouble.<host>.unplugged",
    Severity.WARNING,
    _("Shops were cut off from the network"),
    _("The host has put the network back. If it goes on, look for what takes it away."),
    "a minute after the last time",
)
NO_LIMITS = AlarmKind(
    "trouble.<host>.no_ceilings",
    Severity.WARNING,
    _("Shops ran outside their limits"),
    _("They were put back, or are repaired. If it goes on, look for what moves processes."),
    "a minute after the last time",
)
DAMAGED = AlarmKind(
    "trouble.<host>.damaged",
    Severity.WARNING,
    _("A host's files about shops are damaged"),
    _("The agent writes these files again. Look at the host's disk."),
    "when the files can be read",
)
CANNOT_END = AlarmKind(
    "trouble.<host>.cannot_end",
    Severity.WARNING,
    _("Shops cannot be ended"),
    _("A process waits in the kernel. Look for a disk that hangs (cat /proc/PID/stack)."),
    "when the process has ended",
)

KINDS = tuple(value for value in list(globals().values()) if isinstance(value, AlarmKind))
_BY_GROUP = {
    group: [kind for kind in KINDS if kind.group == group]
    for group in {kind.group for kind in KINDS}
}


def of(key: str) -> AlarmKind | None:
    """Return the kind of an alarm; None for a test, or a kind that another version declared."""
    return next(
        (kind for kind in _BY_GROUP.get(key.partition(".")[0], ()) if kind.names(key) is not None),
        None,
    )


def host_of(key: str) -> str:
    """Return the host that an alarm is about; "" for none."""
    kind = of(key)
    return (kind.names(key) or {}).get("host", "") if kind else ""
