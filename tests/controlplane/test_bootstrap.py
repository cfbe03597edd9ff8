"""`manage.py bootstrap` fills an empty record, may be repeated, and keeps what an operator has set."""

import io
import stat
from pathlib import Path

import pytest
import redis
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from tenants.accounts import tokens
from tenants.accounts.models import Member
from tenants.catalogue.models import App, Plan, Release
from tenants.placement import bookings, placements
from tenants.pool import registration
from tenants.pool.models import Edge, Host
from tests.factories import DIGEST, MIB, make_shop
from workers.broker import users

OTHER = "sha256:" + "2" * 64


@pytest.fixture
def var(db: None, redis_url: str, settings: Settings, tmp_path: Path) -> Path:
    """An empty STOA_VAR, and a broker that has forgotten its users."""
    settings.STOA_VAR = tmp_path
    settings.STOA_IMAGES = tmp_path / "images"
    settings.STOA_SECRETS_DIR = tmp_path / "secrets"
    users._set.clear()
    return tmp_path


def _bootstrap(*args: str) -> str:
    told = io.StringIO()
    call_command("bootstrap", *args, stdout=told)
    return told.getvalue()


def test_an_empty_record_is_filled_so_that_a_shop_can_be_signed_up(
    var: Path, redis_url: str
) -> None:
    _bootstrap("--image", f"shop={DIGEST}", "--image", f"hello={DIGEST}")
    assert list(Plan.objects.values_list("slug", flat=True)) == ["starter", "standard", "plus"]
    shop = Release.objects.get(app__slug="shop")
    assert (shop.number, shop.prior_cpu_millis, shop.prior_memory_bytes) == (1, 1.0, 9 * MIB)
    assert (shop.health_path, shop.has_volume) == ("/healthz", True)
    hello = Release.objects.get(app__slug="hello")
    assert (hello.health_path, hello.has_volume) == ("", False)
    host = Host.objects.get()
    assert (host.name, host.address, host.next_port) == ("local", "100.96.0.1", host.first_port)
    assert 0 < host.reserve_memory_bytes < host.capacity_memory_bytes
    assert Edge.objects.get().check_url == "http://127.0.0.1:8080"
    users = set(redis.Redis.from_url(redis_url, decode_responses=True).acl_users())
    assert {"host.local", "edge.local"} <= users
    made = make_shop()
    assert made.operation.instance.release == shop


def test_secrets_are_files_of_their_owner_and_their_hashes_are_in_the_record(var: Path) -> None:
    _bootstrap()
    kept = {file.name: file.read_text().strip() for file in (var / "secrets").iterdir()}
    assert set(kept) == {
        "host-local-broker",
        "host-local-token",
        "edge-local-broker",
        "edge-local-token",
    }
    assert Host.objects.get().broker_secret_sha256 == tokens.sha256(kept["host-local-broker"])
    assert Edge.objects.get().token_sha256 == tokens.sha256(kept["edge-local-token"])
    for file in (*(var / "secrets").iterdir(), var / "operator-login", var / "operator-token"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    login = dict(line.split(": ", 1) for line in (var / "operator-login").read_text().splitlines())
    member = Member.objects.get()
    assert member.is_operator
    assert (member.email, member.check_password(login["password"])) == (login["email"], True)
    token = tokens.find((var / "operator-token").read_text().strip())
    assert token is not None
    assert token.is_operator


def test_a_second_run_changes_nothing(var: Path) -> None:
    _bootstrap("--image", f"shop={DIGEST}")
    files = {file: file.read_text() for file in var.rglob("*") if file.is_file()}
    rows = [list(model.objects.values()) for model in (Plan, App, Release, Host, Edge, Member)]
    told = _bootstrap("--image", f"shop={DIGEST}")
    assert "operator" not in told
    assert {file: file.read_text() for file in var.rglob("*") if file.is_file()} == files
    assert rows == [
        list(model.objects.values()) for model in (Plan, App, Release, Host, Edge, Member)
    ]


def test_an_image_that_changed_is_the_next_release_and_going_back_another(var: Path) -> None:
    for digest in (DIGEST, OTHER, DIGEST):
        _bootstrap("--image", f"shop={digest}")
    numbers = Release.objects.order_by("number").values_list("number", "image_digest")
    assert list(numbers) == [(1, DIGEST), (2, OTHER), (3, DIGEST)]


def test_what_an_operator_has_set_stays(var: Path) -> None:
    _bootstrap("--host-cpu-millis", "1500", "--reserve-cpu-millis", "0")
    Plan.objects.filter(slug="plus").update(price_minor=1)
    (var / "operator-login").unlink()
    _bootstrap()
    host = Host.objects.get()
    assert (host.capacity_cpu_millis, host.reserve_cpu_millis) == (1500, 0)
    assert Plan.objects.get(slug="plus").price_minor == 1
    assert not (var / "operator-login").exists()


def test_a_token_that_no_longer_works_is_replaced(var: Path) -> None:
    _bootstrap()
    first = (var / "operator-token").read_text()
    token = tokens.find(first.strip())
    assert token is not None
    tokens.revoke(token)
    _bootstrap()
    second = (var / "operator-token").read_text()
    assert second != first
    assert tokens.find(second.strip())


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--image", "shop=latest"), "sha256:<64"),
        (("--host-cpu-millis", "100", "--reserve-cpu-millis", "100"), "cpu_millis"),
    ],
)
def test_a_wrong_argument_is_named(var: Path, args: tuple[str, ...], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        _bootstrap(*args)
    assert not Host.objects.exists()


def test_a_host_that_holds_shops_does_not_change_its_address_under_them(var: Path) -> None:
    _bootstrap("--image", f"shop={DIGEST}")
    host, instance = Host.objects.get(), make_shop().operation.instance
    booking = bookings.Booking(cpu_millis=1, memory_bytes=1, disk_bytes=0)
    assert placements.reserve(instance, host.pk, booking, reasons=[])
    with pytest.raises(CommandError, match="move them before"):
        _bootstrap("--host-address", "100.97.0.1")
    assert Host.objects.get().address == host.address
    assert registration.room_of("local")["host_cpu_millis"] == host.capacity_cpu_millis
