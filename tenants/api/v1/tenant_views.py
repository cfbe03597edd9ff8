"""/api/v1/: tenants, what is asked of them, and the operations that carry it out."""

import json
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac
from drf_spectacular.utils import OpenApiExample, OpenApiParameter
from rest_framework import exceptions
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from tenants.accounts.models import Member
from tenants.activity import event_queries
from tenants.api.base import ApiView
from tenants.api.declared import Sent
from tenants.api.endpoint import ASKING, BUSY, PAGE_ERRORS, PAGED, endpoint
from tenants.api.pagination import LatestFirst, NewestFirst
from tenants.api.v1 import bodies
from tenants.api.v1.requests import SignUpRequest, event_filter, idempotency_key, tenant_filter
from tenants.catalogue import price_list
from tenants.errors import (
    EmailTakenError,
    FieldError,
    NotFoundError,
    SlugTakenError,
    StateConflictError,
)
from tenants.http import access_brakes
from tenants.operations import idempotency, operations
from tenants.operations.models import Operation
from tenants.shops import first_logins, member_shops, removals, repeats, signups, visible
from tenants.shops.models import Tenant
from tenants.shops.signups import SignUpForm
from tenants.states import EventKind, TenantState

_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Repeat a request with the same key and the same body, and it is one sign-up.",
)
_A_SHOP = OpenApiExample(
    "A shop",
    value={"slug": "acme", "shop_name": "Acme", "email": "owner@example.com"},
    request_only=True,
)


class TenantsView(ApiView):
    """All tenants of the principal, and the way to a new one."""

    @endpoint(
        "tenants_list",
        parameters=(
            OpenApiParameter("state", str, enum=TenantState.values),
            OpenApiParameter("q", str, description="the beginning of a slug"),
            *PAGED,
        ),
        errors={400: "A bad filter.", 401: "No working token."} | PAGE_ERRORS,
    )
    def get(self, request: Request) -> bodies.TenantPageBody:
        """Tenants of the principal, newest first."""
        state, search = tenant_filter(request.query_params)
        found = visible.listed(_tenants(self), state=state, search=search)
        pages = NewestFirst()
        rows = pages.paginate_queryset(found, request, view=self) or []
        return bodies.TenantPageBody(*pages.links(), tuple(bodies.tenant(row) for row in rows))

    @endpoint(
        "tenants_create",
        status=202,
        parameters=(_KEY,),
        errors={
            401: "No token, or one that does not work.",
            409: "The address is taken.",
            422: "The Idempotency-Key came before with another body.",
            429: "Too many sign-ups; see Retry-After.",
            503: "No room, or new shops are stopped; see Retry-After.",
        },
        examples=[_A_SHOP],
    )
    def post(self, request: Request, sent: Sent[SignUpRequest]) -> bodies.SignUpAcceptedBody:
        """Sign a shop up. The answer comes at once; the operation tells how far it has come."""
        key = idempotency_key(request)
        form = sent.checked().form()
        if not key:
            self._brake(request)
            return _sign_up_accepted(self, self._sign_up(form), is_repeat=False)
        who = self.principal.name
        if not self.principal.is_operator and not idempotency.is_known(principal=who, key=key):
            self._brake(request)  # never a repeat
        answer = idempotency.once(
            principal=who,
            key=key,
            # Keyed, because a plain hash of a short password could be tried out.
            payload=salted_hmac("idempotency", json.dumps(request.data, sort_keys=True)).digest(),
            work=lambda: self._sign_up(form),
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

    @endpoint("tenants_get", errors=ASKING)
    def get(self, request: Request, slug: str) -> bodies.TenantBody:
        """Return the tenant; of one that was removed, its last state."""
        return bodies.tenant(tenant_of(self, slug))

    @endpoint("tenants_delete", status=202, errors=ASKING | BUSY)
    def delete(self, request: Request, slug: str) -> bodies.AcceptedBody:
        """Remove the shop and all its data. Repeating it gives the same operation."""
        tenant = tenant_of(self, slug)
        operation = visible.removal_of(tenant) if tenant.state == TenantState.REMOVED else None
        if operation is None:
            operation = removals.request(tenant, requested_by=self.principal.member)
        return accepted(self, operation)


class EventsView(ApiView):
    """What befell a shop while it ran."""

    @endpoint(
        "tenants_events_list",
        parameters=(OpenApiParameter("kind", str, enum=EventKind.values), *PAGED),
        errors={400: "A bad filter."} | PAGE_ERRORS | ASKING,
    )
    def get(self, request: Request, slug: str) -> bodies.EventPageBody:
        """Events of the tenant, the latest first."""
        kind = event_filter(request.query_params)
        found = event_queries.of(tenant_of(self, slug)).select_related("instance")
        pages = LatestFirst()
        chosen = found.filter(kind=kind) if kind else found
        rows = pages.paginate_queryset(chosen, request, view=self) or []
        return bodies.EventPageBody(*pages.links(), tuple(bodies.event(row) for row in rows))


class FirstLoginView(ApiView):
    """The shop's first-login secret."""

    @endpoint("tenants_first_login", errors=ASKING | BUSY)
    def post(self, request: Request, slug: str) -> bodies.FirstLoginBody:
        """Return the secret that opens the shop's admin, once: it is wiped as it is shown."""
        tenant = tenant_of(self, slug)
        if tenant.state != TenantState.LIVE:
            raise StateConflictError("the shop is not running; ask again once it is")
        access_brakes.reveal(tenant.public_id)
        secret = first_logins.reveal(tenant)
        if secret is None:
            raise StateConflictError(
                "the first-login secret was shown before and cannot be shown again"
            )
        return bodies.FirstLoginBody(secret, member_shops.admin_address(tenant.slug))


class OperationView(ApiView):
    """One operation."""

    @endpoint("operations_get", errors=ASKING)
    def get(self, request: Request, public_id: str) -> bodies.OperationBody:
        """Return how far the operation has come, step by step."""
        return _operation_body(self, _operation(self, public_id))


class RetryView(ApiView):
    """Another try."""

    @endpoint("operations_retry", status=202, errors=ASKING | BUSY)
    def post(self, request: Request, public_id: str) -> bodies.AcceptedBody:
        """Try a failed operation again."""
        operation = _operation(self, public_id)
        repeats.retry(operation, is_operator=self.principal.is_operator)
        return accepted(self, _operation(self, public_id))


class CancelView(ApiView):
    """Enough."""

    @endpoint("operations_cancel", status=202, errors=ASKING | BUSY)
    def post(self, request: Request, public_id: str) -> bodies.AcceptedBody:
        """Ask an open operation to stop; it ends as cancelled soon after."""
        operation = _operation(self, public_id)
        operations.cancel(operation, is_operator=self.principal.is_operator)
        return accepted(self, _operation(self, public_id))


class PlansView(ApiView):
    """What can be bought."""

    permission_classes = [AllowAny]

    @endpoint("plans_list", errors={}, auth=[])
    def get(self, request: Request) -> bodies.PlansBody:
        """Return the plans on offer, cheapest first."""
        return bodies.PlansBody(tuple(bodies.plan(row) for row in price_list.public_plans()))


def _tenants(view: ApiView) -> Any:
    who = view.principal
    return visible.tenants(who.member, is_operator=who.is_operator)


def tenant_of(view: ApiView, slug: str) -> Tenant:
    """Return the tenant, where the principal may see it; NotFoundError otherwise."""
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


def _operation_body(view: ApiView, operation: Operation) -> bodies.OperationBody:
    return bodies.operation(
        operation, operation.steps.all(), for_operator=view.principal.is_operator
    )


def _sign_up_accepted(
    view: ApiView, operation: Operation, *, is_repeat: bool
) -> bodies.SignUpAcceptedBody:
    steps = operation.steps.all() if is_repeat else bodies.fresh_steps(operation)
    return bodies.SignUpAcceptedBody(
        tenant=bodies.tenant(operation.tenant),
        operation=bodies.operation(operation, steps, for_operator=view.principal.is_operator),
        links=bodies.links(operation),
    )


def accepted(view: ApiView, operation: Operation) -> bodies.AcceptedBody:
    """Return the answer to a request that an operation carries out."""
    return bodies.AcceptedBody(_operation_body(view, operation), bodies.links(operation))
