"""Operations: one worker at a time, late ones change nothing, ends are ends."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from tenants.core import transitions
from tenants.core.models import Transition
from tenants.errors import (
    CancelledError,
    LeaseLostError,
    OperationOpenError,
    StateConflictError,
    WaitError,
)
from tenants.operations import attempts, leases, operations, steps
from tenants.operations.leases import Lease
from tenants.operations.models import Operation, Step
from tenants.shops import removals, repeats
from tenants.shops.models import Instance, Tenant
from tenants.shops.signups import SignUp
from tenants.states import InstanceState, OperationState, StepState, TenantState, Verb
from tests.factories import claim, make_shop, race


def _run_out(made: SignUp) -> None:
    Operation.objects.filter(pk=made.operation.pk).update(
        lease_until=Now() - timedelta(seconds=1), run_after=Now()
    )


def _steps(made: SignUp) -> dict[str, str]:
    return dict(Step.objects.filter(operation=made.operation).values_list("name", "state"))


def _state(made: SignUp) -> str:
    return Operation.objects.values_list("state", flat=True).get(pk=made.operation.pk)


@pytest.fixture
def made(db: None) -> SignUp:
    """A shop with an open operation."""
    return make_shop()


def test_a_new_operation_waits_with_every_step_of_its_verb(made: SignUp) -> None:
    assert _state(made) == OperationState.PENDING
    assert _steps(made) == dict.fromkeys(steps.names(Verb.PROVISION), StepState.WAITING)


def test_the_database_itself_allows_one_open_operation_of_a_tenant(made: SignUp) -> None:
    with pytest.raises(OperationOpenError):
        operations.open_operation(made.operation.instance, Verb.REPAIR)
    with pytest.raises(IntegrityError, match="one_open_operation_per_tenant"), transaction.atomic():
        Operation.objects.create(
            tenant=made.tenant,
            instance=made.operation.instance,
            verb=Verb.REPAIR,
            deadline_at=Now(),
        )


def test_a_held_operation_is_not_claimed_again(made: SignUp) -> None:
    claim(made, "first")
    assert leases.claim(made.operation.pk, owner="second") is None


def test_an_operation_that_is_not_due_is_not_claimed(made: SignUp) -> None:
    Operation.objects.filter(pk=made.operation.pk).update(run_after=Now() + timedelta(minutes=1))
    assert leases.claim(made.operation.pk, owner="worker") is None


def test_every_claim_has_a_higher_fence_and_counts_an_attempt(made: SignUp) -> None:
    first = claim(made, "first")
    _run_out(made)
    second = claim(made, "second")
    assert second.fence == first.fence + 1
    assert Tenant.objects.get(pk=made.tenant.pk).fence == second.fence
    assert Operation.objects.get(pk=made.operation.pk).attempts == 2


def test_fences_of_one_tenant_grow_over_its_operations(made: SignUp) -> None:
    first = claim(made)
    attempts.succeed(first)
    second = operations.open_operation(made.operation.instance, Verb.REPAIR)
    lease = leases.claim(second.pk, owner="worker")
    assert lease is not None
    assert lease.fence == first.fence + 1


@pytest.mark.parametrize(
    "write",
    [
        leases.renew,
        leases.check,
        lambda lease: leases.begin_step(lease, "place"),
        attempts.succeed,
        lambda lease: attempts.fail(lease, code="x", message="x"),
        attempts.cancelled,
        lambda lease: attempts.repeat_later(lease, code="x", message="x"),
        lambda lease: attempts.wait(lease, WaitError("x")),
    ],
    ids=["renew", "check", "begin_step", "succeed", "fail", "cancelled", "repeat_later", "wait"],
)
def test_a_worker_whose_lease_was_taken_over_changes_nothing(made: SignUp, write: object) -> None:
    late = claim(made, "late")
    _run_out(made)
    claim(made, "now")
    before = Operation.objects.filter(pk=made.operation.pk).values().get(), _steps(made)
    with pytest.raises(LeaseLostError):
        write(late)  # type: ignore[operator]
    assert (Operation.objects.filter(pk=made.operation.pk).values().get(), _steps(made)) == before


def test_renewing_never_goes_past_the_deadline(made: SignUp) -> None:
    lease = claim(made)
    Operation.objects.filter(pk=made.operation.pk).update(
        deadline_at=Now() + timedelta(seconds=1), lease_until=Now()
    )
    leases.renew(lease)
    row = Operation.objects.get(pk=made.operation.pk)
    assert row.lease_until == row.deadline_at


def test_a_step_begun_ends_those_before_it_and_reopens_those_after_it(made: SignUp) -> None:
    lease = claim(made)
    for name in ("place", "start", "route"):
        leases.begin_step(lease, name)
    assert _steps(made) == {
        "place": StepState.DONE,
        "start": StepState.DONE,
        "route": StepState.ACTIVE,
        "check": StepState.WAITING,
    }
    leases.begin_step(lease, "start")  # a repeat
    assert _steps(made) == {
        "place": StepState.DONE,
        "start": StepState.ACTIVE,
        "route": StepState.WAITING,
        "check": StepState.WAITING,
    }


def test_success_ends_every_step_and_forgets_earlier_errors(made: SignUp) -> None:
    lease = claim(made)
    leases.begin_step(lease, "start")
    assert attempts.repeat_later(lease, code="unhealthy", message="no answer")
    _run_out(made)
    attempts.succeed(claim(made))
    row = Operation.objects.get(pk=made.operation.pk)
    assert (row.state, row.error_code, row.error_message) == (OperationState.SUCCEEDED, "", "")
    assert row.finished_at is not None
    assert set(_steps(made).values()) == {StepState.DONE}


def test_waiting_uses_up_neither_attempts_nor_time(made: SignUp) -> None:
    for _ in range(20):
        lease = claim(made)
        assert not lease.is_spent
        leases.begin_step(lease, "place")
        Operation.objects.filter(pk=made.operation.pk).update(deadline_at=Now())
        assert attempts.wait(lease, WaitError("8 others are starting"))
        _run_out(made)
    row = Operation.objects.get(pk=made.operation.pk)
    assert (row.state, row.attempts) == (OperationState.PENDING, 0)
    assert (row.error_code, row.error_message) == ("waiting", "8 others are starting")
    assert row.waiting_since is not None


def test_who_waits_longer_than_the_error_allows_is_told_so(made: SignUp) -> None:
    error = WaitError("no room yet")
    error.longest_seconds = 6  # three tries, two seconds apart
    for _ in range(3):
        assert attempts.wait(claim(made), error)
        _run_out(made)
    assert not attempts.wait(claim(made), error)


def test_time_in_which_nobody_could_try_uses_up_no_patience(made: SignUp) -> None:
    error = WaitError("no host can be seen")
    error.longest_seconds = 6
    assert attempts.wait(claim(made), error)
    _run_out(made)
    Operation.objects.update(  # an hour without a database, a broker or a worker
        waiting_since=Now() - timedelta(hours=1), deadline_at=Now() - timedelta(minutes=55)
    )
    lease = claim(made)
    assert not lease.is_spent
    assert attempts.wait(lease, error)


def test_a_step_does_not_seem_to_take_as_long_as_the_wait(made: SignUp) -> None:
    lease = claim(made)
    leases.begin_step(lease, "place")
    attempts.wait(lease, WaitError("8 others are starting"))
    step = Step.objects.get(operation=made.operation, name="place")
    assert (step.state, step.started_at, step.detail) == (
        StepState.WAITING,
        None,
        "8 others are starting",
    )


def test_failure_names_the_reason_on_the_operation_and_on_the_step_it_came_to(made: SignUp) -> None:
    lease = claim(made)
    leases.begin_step(lease, "start")
    attempts.fail(lease, code="unhealthy", message="the shop did not answer")
    row = Operation.objects.get(pk=made.operation.pk)
    assert (row.state, row.error_code) == (OperationState.FAILED, "unhealthy")
    step = Step.objects.get(operation=made.operation, name="start")
    assert (step.state, step.detail) == (StepState.FAILED, "the shop did not answer")
    assert leases.claim(made.operation.pk, owner="worker") is None


def test_a_repeat_waits_longer_each_time_and_ends_with_the_attempts(made: SignUp) -> None:
    pauses = []
    for _ in range(8):
        lease = claim(made)
        if not attempts.repeat_later(lease, code="host", message="no answer"):
            attempts.fail(lease, code="host", message="no answer")
            break
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM run_after - statement_timestamp()) "
                "FROM tenants_operation WHERE id = %s",
                [made.operation.pk],
            )
            pauses.append(float(cursor.fetchone()[0]))
        _run_out(made)
    assert len(pauses) == 7
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.7
    assert _state(made) == OperationState.FAILED


def test_a_repeat_that_would_come_after_the_deadline_is_refused(made: SignUp) -> None:
    lease = claim(made)
    Operation.objects.filter(pk=made.operation.pk).update(deadline_at=Now())
    assert attempts.repeat_later(lease, code="host", message="no answer") is False
    assert _state(made) == OperationState.RUNNING


def test_a_claim_after_the_deadline_or_the_last_attempt_says_that_it_is_spent(made: SignUp) -> None:
    assert claim(made).is_spent is False
    Operation.objects.filter(pk=made.operation.pk).update(deadline_at=Now())
    _run_out(made)
    assert claim(made).is_spent is True


def test_cancelling_reaches_the_worker_before_its_next_call(made: SignUp) -> None:
    lease = claim(made)
    operations.cancel(made.operation)
    for ask in (leases.check, lambda one: leases.begin_step(one, "start")):
        with pytest.raises(CancelledError):
            ask(lease)
    attempts.cancelled(lease)
    with pytest.raises(StateConflictError):
        operations.cancel(made.operation)


def test_a_removal_cannot_be_cancelled(made: SignUp) -> None:
    with pytest.raises(StateConflictError, match="removal"):
        operations.cancel(removals.request(made.tenant))


def _fail(made: SignUp) -> Operation:
    attempts.fail(claim(made), code="no_room", message="no host has room")
    transitions.move(made.tenant, TenantState.FAILED, reason="no host has room")
    operation = Operation.objects.get(pk=made.operation.pk)
    transitions.move(operation.instance, InstanceState.FAILED, reason="no host has room")
    return operation


def test_a_retry_begins_anew_and_the_shop_is_being_set_up_again(made: SignUp) -> None:
    operation = _fail(made)
    repeats.retry(operation)
    row = Operation.objects.get(pk=operation.pk)
    assert (row.state, row.attempts, row.error_code) == (OperationState.PENDING, 0, "")
    assert row.finished_at is None
    assert set(_steps(made).values()) == {StepState.WAITING}
    assert Tenant.objects.get(pk=made.tenant.pk).state == TenantState.REQUESTED
    assert claim(made).fence == 2


def test_only_a_failed_operation_is_tried_again(made: SignUp) -> None:
    with pytest.raises(StateConflictError, match="only a failed"):
        repeats.retry(made.operation)


def test_an_old_failure_is_not_tried_again_once_something_newer_was_asked_for(made: SignUp) -> None:
    failed = _fail(made)
    removal = removals.request(made.tenant)
    lease = leases.claim(removal.pk, owner="worker")
    assert lease is not None
    attempts.fail(lease, code="host", message="no answer")
    with pytest.raises(StateConflictError, match="being removed"):
        repeats.retry(failed)
    assert Operation.objects.get(pk=failed.pk).state == OperationState.FAILED


def test_a_repair_is_not_opened_for_a_shop_that_is_being_removed(made: SignUp) -> None:
    removal = removals.request(made.tenant)
    lease = leases.claim(removal.pk, owner="worker")
    assert lease is not None
    attempts.fail(lease, code="host", message="no answer")
    with pytest.raises(StateConflictError, match="being removed"):
        operations.open_operation(Instance.objects.get(), Verb.REPAIR)


def test_every_change_of_an_operation_is_in_the_journal(made: SignUp) -> None:
    lease = claim(made)
    attempts.repeat_later(lease, code="host", message="no answer")
    _run_out(made)
    attempts.succeed(claim(made))
    rows = Transition.objects.filter(subject="operation", subject_id=made.operation.pk)
    assert list(rows.order_by("pk").values_list("old_state", "new_state")) == [
        ("pending", "running"),
        ("running", "pending"),
        ("pending", "running"),
        ("running", "succeeded"),
    ]


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_that_claim_at_once_one_gets_the_operation() -> None:
    made = make_shop()
    claimed = race(*(lambda n=n: leases.claim(made.operation.pk, owner=f"w{n}") for n in range(8)))
    won = [lease for lease in claimed if lease is not None]
    assert len(won) == 1
    assert isinstance(won[0], Lease)
    assert Tenant.objects.get(pk=made.tenant.pk).fence == won[0].fence == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repeat", range(10))
def test_a_worker_that_ends_and_a_removal_that_comes_do_not_deadlock(repeat: int) -> None:
    made = make_shop()
    lease = claim(made)

    def end() -> str:
        with transaction.atomic():
            attempts.succeed(lease)
            instance = Instance.objects.get(pk=made.operation.instance_id)
            transitions.move(instance, InstanceState.PROVISIONING, reason="x")
            transitions.move(Tenant.objects.get(pk=made.tenant.pk), TenantState.LIVE, reason="x")
        return "ended"

    ended, removal = race(end, lambda: removals.request(made.tenant))
    assert isinstance(removal, Operation)
    assert ended == "ended" or isinstance(ended, LeaseLostError)
    assert _state(made) in {OperationState.SUCCEEDED, OperationState.CANCELLED}
    assert Tenant.objects.get(pk=made.tenant.pk).state == TenantState.REMOVING


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repeat", range(10))
def test_a_worker_that_claims_and_a_removal_that_comes_do_not_deadlock(repeat: int) -> None:
    made = make_shop()
    lease, removal = race(
        lambda: leases.claim(made.operation.pk, owner="worker"),
        lambda: removals.request(made.tenant),
    )
    assert lease is None or isinstance(lease, Lease)
    assert isinstance(removal, Operation)
    if isinstance(lease, Lease):
        with pytest.raises(LeaseLostError):
            leases.check(lease)
    taken = leases.claim(removal.pk, owner="worker")
    assert taken is not None
    assert taken.fence > (lease.fence if isinstance(lease, Lease) else 0)


@pytest.mark.django_db(transaction=True)
def test_two_who_ask_for_removal_at_once_get_the_same_operation() -> None:
    made = make_shop()
    first, second = race(*(lambda: removals.request(made.tenant) for _ in range(2)))
    assert isinstance(first, Operation)
    assert first == second
