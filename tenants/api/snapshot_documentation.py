"""What the OpenAPI description says of copies of shops' data."""

from typing import Any

from rest_framework import serializers as s

from tenants.api.documentation import ACCEPTED, ASKING, BUSY, described
from tenants.states import DataChoice, SnapshotDoubt, SnapshotReason

_SCHEDULE = {
    "period_minutes": s.IntegerField(
        help_text="the plan's: what is lost with a host, at most about this"
    ),
    "taken_at": s.DateTimeField(
        allow_null=True,
        help_text="all that changed before it is in a copy; null while there is none",
    ),
    "due_at": s.DateTimeField(allow_null=True, help_text="when the next one is due"),
    "failures": s.IntegerField(help_text="how many failed one after another"),
}
_SNAPSHOT = {
    "id": s.CharField(),
    "taken_at": s.DateTimeField(help_text="the moment up to which it holds everything"),
    "reason": s.ChoiceField(choices=SnapshotReason.choices),
    "volume_bytes": s.IntegerField(),
    "archive_bytes": s.IntegerField(help_text="what it takes up where it is kept"),
    "files": s.IntegerField(),
    "skipped": s.IntegerField(
        help_text="files that no copy takes (sockets, devices, paths of more than 4,000 bytes) and that"
        " would be missing after going back to it"
    ),
    "doubt": s.ChoiceField(
        choices=SnapshotDoubt.choices,
        allow_blank=True,
        help_text="why it lets no older copy go; empty when it is in order",
    ),
    "is_difference": s.BooleanField(),
    "checked_at": s.DateTimeField(help_text="when it was last read back whole"),
}
LIST_SNAPSHOTS: dict[str, Any] = {
    "operation_id": "tenants_snapshots_list",
    "responses": {
        200: described(
            "Snapshots",
            {
                "schedule": described("SnapshotSchedule", _SCHEDULE),
                "results": described("Snapshot", _SNAPSHOT, many=True),
            },
        )
    }
    | ASKING,
}
TAKE_SNAPSHOT: dict[str, Any] = {
    "operation_id": "tenants_snapshots_create",
    "request": None,
    "responses": {202: described("SnapshotAsked", _SCHEDULE)} | ASKING | BUSY,
}
GET_DATA: dict[str, Any] = {
    "operation_id": "tenants_data_retrieve",
    "responses": {
        200: described(
            "TenantData",
            {
                "is_missing": s.BooleanField(
                    help_text="the shop is not started: its data is not there"
                ),
                "is_waiting": s.BooleanField(
                    help_text="an operation waits for a copy, or for what it takes to load one"
                ),
                "since": s.DateTimeField(allow_null=True),
                "reason": s.CharField(help_text="what the host said; for operators"),
                "choices": s.ListField(
                    child=s.CharField(),
                    help_text="wait, newest, copy, empty: those that can be made",
                ),
                "copies": described("DataCopy", _SNAPSHOT, many=True),
            },
        )
    }
    | ASKING,
}
CHOOSE_DATA: dict[str, Any] = {
    "operation_id": "tenants_data_choose",
    "request": described(
        "DataChoiceRequest",
        {
            "choice": s.ChoiceField(choices=DataChoice.choices),
            "snapshot": s.CharField(required=False, help_text="with copy: snp_…"),
            "confirm": s.CharField(required=False, help_text="with empty: the shop's slug"),
        },
    ),
    "responses": {202: ACCEPTED} | ASKING | BUSY,
}
RESTORE: dict[str, Any] = {
    "operation_id": "tenants_restore",
    "request": described("RestoreRequest", {"snapshot": s.CharField(help_text="snp_…")}),
    "responses": {202: ACCEPTED} | ASKING | BUSY,
}
ACCEPT: dict[str, Any] = {
    "operation_id": "tenants_snapshots_accept",
    "request": None,
    "responses": {
        200: described(
            "SnapshotsAccepted",
            {"accepted": s.IntegerField(help_text="how many copies are no longer in doubt")},
        )
    }
    | ASKING,
}
