"""Removal beats what is under way, may be repeated, and takes the secret with it."""

import hashlib

import pytest

from tenants.errors import LeaseLostError, StateConflictError
from tenants.operations import attempts, leases
from tenants.operations.models import Operation, Step
from tenants.shops import first_logins, removals
from tenants.shops.models import FirstLogin, Instance, Tenant
from tenants.states import InstanceState, OperationState, StepState, TenantState, Verb
from tests.factories import claim, make_shop, race


@pytest.mark.django_db
def test_a_removal_supersedes_the_set_up_whoever_works_on_it() -> None:
    made = make_shop()
    lease = claim(made)
    leases.begin_step(lease, "start")
    removal = removals.request(made.tenant)
    assert removal.verb == Verb.REMOVE
    set_up = Operation.objects.get(pk=made.operation.pk)
    assert (set_up.state, set_up.error_code) == (OperationState.CANCELLED, "superseded")
    assert Step.objects.get(operation=set_up, name="start").state == StepState.FAILED
    with pytest.raises(LeaseLostError):
        leases.check(lease)
    assert Tenant.objects.get().state == TenantState.REMOVING
    assert Instance.objects.get().state == InstanceState.RETIRING


@pytest.mark.django_db
def test_a_removal_asked_for_again_is_the_same_operation_and_a_failed_one_is_tried_again() -> None:
    tenant = make_shop().tenant
    removal = removals.request(tenant)
    assert removals.request(tenant) == removal
    lease = leases.claim(removal.pk, owner="worker")
    assert lease is not None
    attempts.fail(lease, code="host", message="no answer")
    again = removals.request(tenant)
    assert again == removal
    assert Operation.objects.get(pk=removal.pk).state == OperationState.PENDING


@pytest.mark.django_db
def test_a_removed_shop_is_gone_for_good() -> None:
    made = make_shop()
    lease = leases.claim(removals.request(made.tenant).pk, owner="worker")
    assert lease is not None
    attempts.succeed(lease)
    removals.record_removed(Tenant.objects.get(), Instance.objects.get())
    assert Tenant.objects.get().state == TenantState.REMOVED
    assert Instance.objects.get().state == InstanceState.RETIRED
    assert bytes(FirstLogin.objects.get().ciphertext) == b""
    assert first_logins.reveal(made.tenant) is None
    with pytest.raises(StateConflictError, match="already been removed"):
        removals.request(made.tenant)


@pytest.mark.django_db
def test_a_first_login_is_shown_once_and_wiped() -> None:
    tenant = make_shop().tenant
    kept = FirstLogin.objects.get()
    secret = first_logins.reveal(tenant)
    assert secret is not None
    assert secret.encode() not in bytes(kept.ciphertext)
    _, salt, digest = kept.hash.split(":")
    assert hashlib.sha256(bytes.fromhex(salt) + secret.encode()).hexdigest() == digest
    assert first_logins.reveal(tenant) is None
    assert bytes(FirstLogin.objects.get().ciphertext) == b""


@pytest.mark.django_db(transaction=True)
def test_of_many_who_ask_at_once_one_sees_the_first_login() -> None:
    tenant = make_shop().tenant
    found = race(*(lambda: first_logins.reveal(tenant) for _ in range(6)))
    assert sum(isinstance(one, str) for one in found) == 1
    assert sum(one is None for one in found) == 5
