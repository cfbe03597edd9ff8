"""What the OpenAPI description says of the pool's end points. Serializers here describe, they do no work."""

from typing import Any

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers as s

from tenants.api.documentation import described, problems
from tenants.api.pool_requests import ForgetRequest, HostEdit, JoinTokenRequest
from tenants.states import HostHealth, HostState

_AMOUNT = described(
    "Amount",
    {
        "capacity": s.IntegerField(),
        "reserve": s.IntegerField(help_text="kept back for the host itself"),
        "booked": s.IntegerField(help_text="sum of what its instances are expected to use"),
        "measured": s.IntegerField(allow_null=True, help_text="as the host last reported"),
    },
)
_HOST = described(
    "Host",
    {
        "name": s.CharField(),
        "state": s.ChoiceField(choices=HostState.choices),
        "address": s.IPAddressField(),
        "zone": s.CharField(),
        "engine": s.CharField(),
        "epoch": s.IntegerField(),
        "health": s.ChoiceField(choices=HostHealth.values),
        "health_since": s.DateTimeField(),
        "labels": s.DictField(child=s.CharField()),
        "ports": s.ListField(child=s.IntegerField(), help_text="first and last published port"),
        "instances": s.IntegerField(),
        "is_heard": s.BooleanField(),
        "seen_at": s.DateTimeField(allow_null=True),
        "age_seconds": s.FloatField(allow_null=True),
        "cpu_millis": _AMOUNT,
        "memory_bytes": _AMOUNT,
        "disk_bytes": _AMOUNT,
    },
)
_JOIN_TOKEN = described(
    "JoinToken",
    {
        "id": s.CharField(),
        "state": s.ChoiceField(choices=["waiting", "used", "expired", "revoked"]),
        "zone": s.CharField(),
        "labels": s.DictField(child=s.CharField()),
        "created_by": s.CharField(),
        "created_at": s.DateTimeField(),
        "expires_at": s.DateTimeField(),
        "used_at": s.DateTimeField(allow_null=True),
        "host": s.CharField(allow_null=True, help_text="what the machine became"),
    },
)
_NEW_JOIN_TOKEN = described(
    "NewJoinToken",
    {
        "id": s.CharField(),
        "token": s.CharField(help_text="shown this once"),
        "address": s.URLField(),
        "command": s.CharField(help_text="what to run on the machine that joins"),
        "expires_at": s.DateTimeField(),
    },
)
_WHO = problems(_401="No working token.", _403="Operators only.")
_ONE = _WHO | problems(_404="No host of that name.")
_NOT_NOW = problems(_409="Its state, or what it holds, does not allow this; the message says why.")

LIST_HOSTS: dict[str, Any] = {
    "operation_id": "hosts_list",
    "responses": {200: described("Hosts", {"results": s.ListField(child=_HOST)})} | _WHO,
}
GET_HOST: dict[str, Any] = {"operation_id": "hosts_get", "responses": {200: _HOST} | _ONE}
EDIT_HOST: dict[str, Any] = {
    "operation_id": "hosts_edit",
    "request": HostEdit,
    "examples": [
        OpenApiExample(
            "Labels", value={"labels": {"rack": "b4"}, "zone": "tokyo-1"}, request_only=True
        )
    ],
    "responses": {200: _HOST} | _ONE | problems(_400="A field is wrong; `errors` says which."),
}
REMOVE_HOST: dict[str, Any] = {
    "operation_id": "hosts_remove",
    "responses": {204: None} | _ONE | _NOT_NOW,
}
CORDON_HOST: dict[str, Any] = {
    "operation_id": "hosts_cordon",
    "request": None,
    "responses": {200: _HOST} | _ONE | _NOT_NOW,
}
UNCORDON_HOST: dict[str, Any] = {
    "operation_id": "hosts_uncordon",
    "request": None,
    "responses": {200: _HOST} | _ONE | _NOT_NOW,
}
HOST_LOST: dict[str, Any] = {
    "operation_id": "hosts_lost",
    "request": ForgetRequest,
    "responses": {200: _HOST} | _ONE | _NOT_NOW | problems(_400="The name was not typed."),
}
FORGET_HOST: dict[str, Any] = {
    "operation_id": "hosts_forget",
    "request": ForgetRequest,
    "responses": {204: None} | _ONE | _NOT_NOW | problems(_400="The name was not typed."),
}
LIST_JOIN_TOKENS: dict[str, Any] = {
    "operation_id": "host_tokens_list",
    "responses": {200: described("JoinTokens", {"results": s.ListField(child=_JOIN_TOKEN)})} | _WHO,
}
CREATE_JOIN_TOKEN: dict[str, Any] = {
    "operation_id": "host_tokens_create",
    "request": JoinTokenRequest,
    "responses": {201: _NEW_JOIN_TOKEN}
    | _WHO
    | problems(
        _400="A field is wrong; `errors` says which.",
        _409="No other machine can reach this control plane; STOA_POOL_ADDRESS is not set.",
    ),
}
REVOKE_JOIN_TOKEN: dict[str, Any] = {
    "operation_id": "host_tokens_revoke",
    "responses": {204: None} | _WHO | problems(_404="No such token."),
}
