"""A database connection that died is replaced before anybody meets it, in every kind of thread."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg2
import pytest
from django.db import (
    OperationalError,
    close_old_connections,
    connection,
    connections,
    transaction,
)
from django.test.utils import CaptureQueriesContext

from controlplane.database import base, warm
from tenants.core.models import Alarm

pytestmark = pytest.mark.django_db(transaction=True)


def ask() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def end(pid: int) -> None:
    """End a session of the server, as a restart does, and wait until it has gone."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    finally:
        other.close()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """One thread that lives through the test with the connection it has made, as a worker's does."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(_close).result()


def test_a_session_that_was_ended_is_replaced_without_a_failed_query(
    thread: ThreadPoolExecutor,
) -> None:
    first = thread.submit(ask).result()
    end(first)
    second = thread.submit(ask).result()
    assert second != first


def test_a_transaction_begins_on_a_living_connection(thread: ThreadPoolExecutor) -> None:
    @transaction.atomic
    def write() -> None:
        Alarm.objects.create(key="test.one", message="x")

    end(thread.submit(ask).result())
    thread.submit(write).result()
    assert Alarm.objects.filter(key="test.one").exists()


def test_a_session_that_ends_within_a_transaction_fails_it_and_the_next_one_works(
    thread: ThreadPoolExecutor,
) -> None:
    def write(key: str, between: Callable[[int], None]) -> None:
        with transaction.atomic():
            Alarm.objects.create(key=key, message="x")
            between(ask())
            Alarm.objects.create(key=f"{key}.more", message="x")

    with pytest.raises(OperationalError):
        thread.submit(write, "test.cut", end).result()
    thread.submit(write, "test.whole", lambda _: None).result()
    assert list(Alarm.objects.order_by("key").values_list("key", flat=True)) == [
        "test.whole",
        "test.whole.more",
    ]


def test_a_session_that_ends_in_a_statement_is_replaced_at_the_next(
    thread: ThreadPoolExecutor,
) -> None:
    asleep = threading.Event()
    pids: list[int] = []

    def sleep() -> None:
        pids.append(ask())
        asleep.set()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(20)")

    sleeping = thread.submit(sleep)
    assert asleep.wait(10)
    end(pids[0])
    with pytest.raises(OperationalError):
        sleeping.result()
    assert thread.submit(ask).result() != pids[0]


def test_a_request_that_begins_while_the_database_is_away_is_not_failed_by_the_look_at_its_connection(
    thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(thread.submit(ask).result())
    with monkeypatch.context() as away:
        away.setattr(base.DatabaseWrapper, "get_new_connection", _refuse)
        thread.submit(close_old_connections).result()
        with pytest.raises(OperationalError):
            thread.submit(ask).result()
        thread.submit(close_old_connections).result()
    assert thread.submit(ask).result()


def _refuse(*_: object) -> None:
    raise psycopg2.OperationalError("the database system is starting up")


def test_looking_costs_no_query_while_nothing_has_happened() -> None:
    ask()
    before = connection.connection
    with CaptureQueriesContext(connection) as queries:
        assert Alarm.objects.count() == 0
    assert len(queries) == 1
    assert connection.connection is before


def test_a_notice_from_the_server_costs_nobody_the_connection() -> None:
    first = ask()
    with connection.cursor() as cursor:
        cursor.execute("LISTEN test_notice")
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("NOTIFY test_notice")
    other.close()
    assert ask() == first


def _close() -> None:
    connection.close()  # this thread's, whichever thread that is


def test_every_thread_of_a_pool_is_connected_before_its_first_use() -> None:
    """And its session knows the tables: nothing of that is left for the first who comes."""
    with ThreadPoolExecutor(3) as pool:
        made: list[Future[None]] = []
        warm.warm(lambda begin: made.append(pool.submit(begin)), 3)
        for one in made:
            one.result()
        assert len(made) == 3
        everyone = threading.Barrier(3)

        def look() -> bool:
            everyone.wait(10)
            is_connected = connection.connection is not None
            connection.close()
            return is_connected

        assert [one.result() for one in [pool.submit(look) for _ in range(3)]] == [True] * 3


def test_a_database_that_is_away_ends_no_thread_that_connects_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise OperationalError("away")

    monkeypatch.setattr(warm, "meet_tables", fail)
    with ThreadPoolExecutor(2) as pool:
        made: list[Future[None]] = []
        warm.warm(lambda begin: made.append(pool.submit(begin)), 2)
        assert [one.result() for one in made] == [None, None]
