"""Prints docs/alarms.md from the table of alarms: python3 docs/alarms.py >docs/alarms.md."""

import sys
from pathlib import Path

from django.conf import settings

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    settings.configure(USE_I18N=False)

from tenants.core.alarm_kinds import KINDS, AlarmKind, Severity

_HEAD = """\
# Alarms

Made from tenants/core/alarm_kinds.py by `docs/alarms.py`: change them there. A test compares.

An alarm is open while it is true. It stands on the operator's overview, in `bin/stoa alarm list`, and at
`GET /api/v1/alarms`. Its beginning and its end are sent by mail and webhook (docs/operating.md, Alarms).
An alarm with `<host>` in its key also stands on that host's page. "And the shop" means: the shop's own page
says it too, in words for merchants. In `stoa_alarms{kind}` the kind is what comes before the first dot.

"""
_MEANS = {
    Severity.CRITICAL: "Shops, their data or sign-ups suffer now.",
    Severity.WARNING: "They will suffer when nobody acts.",
}


def page() -> str:
    """Return the document."""
    return _HEAD + "\n".join(_section(severity) for severity in Severity)


def _section(severity: Severity) -> str:
    rows = "".join(_row(kind) for kind in KINDS if kind.severity == severity)
    return (
        f"## {severity.label}\n\n{_MEANS[severity]}\n\n"
        f"| alarm | means | what to do | ends | shown |\n|---|---|---|---|---|\n{rows}"
    )


def _row(kind: AlarmKind) -> str:
    shown = f"overview{', host' if '<host>' in kind.pattern else ''}{' and the shop' if kind.at_shop else ''}"
    return f"| `{kind.pattern}` | {kind.title} | {kind.remedy} | {kind.ends} | {shown} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
