"""/api/v1/: tenants, what is asked of them, and the operations that carry it out."""

import json
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import access_brakes
from tenants.api import bodies, documentation
from tenants.api.base import ApiView
from tenants.api.pagination import PAGED, LatestFirst, NewestFirst
from tenants.api.requests import SignUpRequest, event_filter, idempotency_key, tenant_filter
from tenants.errors import (
    EmailTakenError,
    FieldError,
    NotFoundError,
    SlugTakenError,
    StateConflictError,
)
from tenants.models import Member, Operation, Tenant
from tenants.queries import catalogue, events, visible
from tenants.services import first_logins, idempotency, operations, removals, repeats, signups
from tenants.services.signups import SignUpForm
from tenants.states import TenantState


class TenantsView(ApiView):
    """All tenants of the principal, and the way to a new one."""

    parameters = (*PAGED, "state", "q")

    @extend_schema(**documentation.LIST_TENANTS)
    def get(self, request: Request) -> Response:
        """Tenants of the principal, newest first."""
        state, search = tenant_filter(request.query_params)
        found = visible.listed(_tenants(self), state=state, search=search)
        pages = NewestFirst()
        rows = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response([bodies.tenant(row) for row in rows])

    @extend_schema(**documentation.CREATE_TENANT)
    def post(self, request: Request) -> Response:
        """Sign a shop up. The answer comes at once; the operation tells how far it has come."""
        key = idempotency_key(request)
        sent = SignUpRequest(data=request.data)
        sent.is_valid(raise_exception=True)
        if not key:
            self._brake(request)
            return _sign_up_accepted(self, self._sign_up(sent.form()), is_repeat=False)
        who = self.principal.name
        if not self.principal.is_operator and not idempotency.is_known(principal=who, key=key):
            self._brake(request)  # never a repeat
        answer = idempotency.once(
            principal=who,
            key=key,
            # Keyed, because a plain hash of a short password could be tried out.
            payload=salted_hmac("idempotency", json.dumps(request.data, sort_keys=True)).digest(),
            work=lambda: self._sign_up(sent.form()),
        )
        return _sign_up_accepted(self, answer.operation, is_repeat=answer.is_repeat)

    def _brake(self, request: Request) -> None:
        """Count it, unless an operator's program signs up: that may open as many as it likes."""
        if not self.principal.is_operator:
            access_brakes.sign_up(request, self.principal.member)

    def _sign_up(self, form: SignUpForm) -> Operation:
        if not self.principal.is_operator:
            return signups.sign_up(
                form,
                member=self._only_for_oneself(form),
                most_shops=settings.STOA_SHOPS_PER_LOGIN,
            ).operation
        if not form.email:
            raise FieldError(
                "email is missing; give the e-mail address of the shop's owner", field="email"
            )
        try:
            return signups.sign_up(form).operation
        except SlugTakenError:
            owner = visible.member_with_email(form.email)
            if owner is None:
                raise
            return signups.sign_up(form, member=owner).operation  # who tries the same again
        except EmailTakenError:
            return signups.sign_up(form, member=_owner_of_another_shop(form)).operation

    def _only_for_oneself(self, form: SignUpForm) -> Member:
        member = self.principal.member
        if member is None:
            raise exceptions.PermissionDenied
        if form.email and form.email.casefold() != member.email.casefold():
            raise FieldError(
                f"this token opens shops for {member.email}; leave email out", field="email"
            )
        if form.password:
            raise FieldError("you have a login already; leave password out", field="password")
        return member


class TenantView(ApiView):
    """One tenant."""

    @extend_schema(**documentation.GET_TENANT)
    def get(self, request: Request, slug: str) -> Response:
        """The tenant; of one that was removed, its last state."""
        return Response(bodies.tenant(tenant_of(self, slug)))

    @extend_schema(**documentation.DELETE_TENANT)
    def delete(self, request: Request, slug: str) -> Response:
        """Remove the shop and all its data. Repeating it gives the same operation."""
        tenant = tenant_of(self, slug)
        operation = visible.removal_of(tenant) if tenant.state == TenantState.REMOVED else None
        if operation is None:
            operation = removals.request(tenant, requested_by=self.principal.member)
        return accepted(self, operation)


class EventsView(ApiView):
    """What befell a shop while it ran."""

    parameters = (*PAGED, "kind")

    @extend_schema(**documentation.LIST_EVENTS)
    def get(self, request: Request, slug: str) -> Response:
        """Events of the tenant, the latest first."""
        kind = event_filter(request.query_params)
        found = events.of(tenant_of(self, slug)).select_related("instance")
        pages = LatestFirst()
        chosen = found.filter(kind=kind) if kind else found
        rows = pages.paginate_queryset(chosen, request, view=self) or []
        return pages.get_paginated_response([bodies.event(row) for row in rows])


class FirstLoginView(ApiView):
    """The shop's first-login secret."""

    @extend_schema(**documentation.FIRST_LOGIN)
    def post(self, request: Request, slug: str) -> Response:
        """The secret that opens the shop's admin, once: it is wiped as it is shown."""
        tenant = tenant_of(self, slug)
        if tenant.state != TenantState.LIVE:
            raise StateConflictError("the shop is not running; ask again once it is")
        access_brakes.reveal(tenant.public_id)
        secret = first_logins.reveal(tenant)
        if secret is None:
            raise StateConflictError(
                "the first-login secret was shown before and cannot be shown again"
            )
        return Response({"secret": secret, "admin_address": bodies.tenant(tenant)["admin_address"]})


class OperationView(ApiView):
    """One operation."""

    @extend_schema(**documentation.GET_OPERATION)
    def get(self, request: Request, public_id: str) -> Response:
        """How far the operation has come, step by step."""
        return Response(_operation_body(self, _operation(self, public_id)))


class RetryView(ApiView):
    """Another try."""

    @extend_schema(**documentation.RETRY_OPERATION)
    def post(self, request: Request, public_id: str) -> Response:
        """Try a failed operation again."""
        operation = _operation(self, public_id)
        repeats.retry(operation, is_operator=self.principal.is_operator)
        return accepted(self, _operation(self, public_id))


class CancelView(ApiView):
    """Enough."""

    @extend_schema(**documentation.CANCEL_OPERATION)
    def post(self, request: Request, public_id: str) -> Response:
        """Ask an open operation to stop; it ends as cancelled soon after."""
        operation = _operation(self, public_id)
        operations.cancel(operation, is_operator=self.principal.is_operator)
        return accepted(self, _operation(self, public_id))


class PlansView(ApiView):
    """What can be bought."""

    permission_classes = [AllowAny]

    @extend_schema(**documentation.LIST_PLANS)
    def get(self, request: Request) -> Response:
        """The plans on offer, cheapest first."""
        return Response({"results": [bodies.plan(row) for row in catalogue.public_plans()]})


def _tenants(view: ApiView) -> Any:
    who = view.principal
    return visible.tenants(who.member, is_operator=who.is_operator)


def tenant_of(view: ApiView, slug: str) -> Tenant:
    """The tenant, where the principal may see it; NotFoundError otherwise."""
    tenant = visible.of_slug(_tenants(view), slug)
    if tenant is None:
        raise NotFoundError(f"you have no shop {slug!r}")
    return tenant


def _operation(view: ApiView, public_id: str) -> Operation:
    who = view.principal
    found = visible.operations(who.member, is_operator=who.is_operator)
    operation = found.filter(public_id=public_id).first()
    if operation is None:
        raise NotFoundError(f"you have no operation {public_id!r}")
    return operation


def _owner_of_another_shop(form: SignUpForm) -> Member:
    member = visible.member_with_email(form.email)
    if member is None:
        raise EmailTakenError("the owner's login has just changed; try again", field="email")
    if form.password:
        raise FieldError(
            f"{member.email} has a login already; leave password out", field="password"
        )
    return member


def _operation_body(view: ApiView, operation: Operation) -> bodies.Body:
    return bodies.operation(
        operation, operation.steps.all(), for_operator=view.principal.is_operator
    )


def _sign_up_accepted(view: ApiView, operation: Operation, *, is_repeat: bool) -> Response:
    steps = operation.steps.all() if is_repeat else bodies.fresh_steps(operation)
    body = {
        "tenant": bodies.tenant(operation.tenant),
        "operation": bodies.operation(operation, steps, for_operator=view.principal.is_operator),
        "links": bodies.links(operation),
    }
    return _with_location(Response(body, status=202), operation)


def accepted(view: ApiView, operation: Operation) -> Response:
    """The answer to a request that an operation carries out."""
    body = {"operation": _operation_body(view, operation), "links": bodies.links(operation)}
    return _with_location(Response(body, status=202), operation)


def _with_location(response: Response, operation: Operation) -> Response:
    response["Location"] = bodies.links(operation)["operation"]
    return response
