"""A repository that cannot be asked says nothing of the copies it holds: none is passed over for it.

Whichever of its methods it is that cannot be had: some repositories sign addresses without a call, others do
not. The hosts of the matrix (tests/workers/flows/kills) meet one that is away while they fetch.
"""

from collections.abc import Callable

import pytest

from tenants.operations.models import Operation
from tenants.shops.models import Instance, Tenant
from tenants.snapshots.models import Snapshot
from tenants.snapshots.repositories import RepositoryError
from tenants.states import OperationState, SnapshotState
from tenants.transfers import restores
from tests.repositories import FilesRepository
from tests.workers.flows.losses import choose, copied, lose_host, missing_shop
from tests.workers.flows.pool import Pool

pytestmark = pytest.mark.django_db

METHODS = ("put_address", "get_address", "read_back")


class Away:
    """The repository's methods that raise, and how often they still do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self.met = 0
        self._patch = monkeypatch

    def begin(self, *methods: str, times: int) -> None:
        """From now on each of these methods raises, so many times in all."""
        self.times, self.met = times, 0
        for method in methods:
            self._patch.setattr(FilesRepository, method, self._raising(method))

    def _raising(self, method: str) -> Callable[..., object]:
        works: Callable[..., object] = getattr(FilesRepository, method)

        def asked(*args: object, **more: object) -> object:
            if self.times:
                self.times -= 1
                self.met += 1
                raise RepositoryError("the store does not answer")
            return works(*args, **more)

        return asked


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    return Away(monkeypatch)


def lost_host(pool: Pool) -> tuple[Instance, Operation]:
    instance = copied(pool, b"second")
    return instance, lose_host()


def chosen(pool: Pool) -> tuple[Instance, Operation]:
    instance, _ = missing_shop(pool, b"second")
    return instance, choose(instance, "newest")


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("begin", [lost_host, chosen], ids=["lost_host", "chosen"])
def test_a_recovery_waits_for_the_newest_copy(
    pool: Pool, away: Away, begin: Callable[[Pool], tuple[Instance, Operation]], times: int
) -> None:
    instance, operation = begin(pool)
    away.begin(*METHODS, times=times)
    assert pool.settle(operation) == "succeeded"
    assert away.met == times
    assert "skipped" not in operation.arguments
    newest = Snapshot.objects.filter(state=SnapshotState.KEPT).latest("started_at")
    assert operation.arguments["loaded"] == newest.public_id
    assert pool.orders(pool.place(instance), instance) == {"first", "second"}
    assert not Snapshot.objects.exclude(state=SnapshotState.KEPT).exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_move_comes_to_a_true_end(pool: Pool, away: Away, method: str) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    away.begin(method, times=1)
    assert pool.settle(operation) in (OperationState.SUCCEEDED, OperationState.FAILED)
    assert away.met == 1
    pool.check_one(instance)
    assert pool.orders(pool.place(instance), instance) == {"first"}


@pytest.mark.parametrize("nth", range(7))
def test_a_restore_has_the_data_that_it_says(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """The repository goes away at one call after another, and stays away for the next two."""
    instance = copied(pool, b"second")
    tenant = Tenant.objects.get(pk=instance.tenant_id)
    early = Snapshot.objects.filter(tenant=tenant, state=SnapshotState.KEPT).earliest("started_at")
    operation = restores.request(tenant, early)
    works = FilesRepository.get_address
    calls = 0

    def asked(self: FilesRepository, key: str) -> str:
        nonlocal calls
        calls += 1
        if nth < calls <= nth + 3:
            raise RepositoryError("the store does not answer")
        return works(self, key)

    monkeypatch.setattr(FilesRepository, "get_address", asked)
    ended = pool.settle(operation)
    has = pool.orders("local", instance)
    assert has == ({"first"} if ended == "succeeded" else {"first", "second", "late"})
    assert operation.error_code not in ("left_older", "left_unsure")
    pool.check_one(instance)
