"""A shop whose space is full: it goes on selling what it has, says what is wrong, and can clean up."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.disk import Spaces, loop
from runtime.units import MIB
from tests.images.shops import Browser, Page, Shop, running
from tests.runtime.hosts import lack_of_store

pytestmark = pytest.mark.root
ONE = "ins_test000001"


@pytest.fixture
def spaces(tmp_path: Path) -> Iterator[Spaces]:
    if lack := lack_of_store():
        pytest.skip(lack)
    host = tmp_path / "host"
    host.mkdir(mode=0o700)
    loop.ensure(host, 256 * MIB)
    yield Spaces(host)
    loop.release(host)


@pytest.fixture
def shop(spaces: Spaces) -> Iterator[Shop]:
    spaces.ensure(ONE, "acme", ceiling=4 * MIB, owner=(0, 0), is_new=True)
    with running(spaces.volume("acme")) as shop:
        yield shop


def _fill(spaces: Spaces) -> Path:
    """Write into the shop's volume until not one byte more goes in."""
    path = spaces.volume("acme") / "ballast"
    for size in (65536, 4096, 512, 1):
        while True:
            try:
                with path.open("ab", buffering=0) as file:
                    file.write(os.urandom(size))
                    os.fsync(file.fileno())
            except OSError:
                break
    return path


def _save_product(merchant: Browser, name: str) -> Page:
    form = merchant.get("/admin/products/1")
    fields = {"name": name, "price": "12.00", "stock": "5", "picture": "cup", "shown": "1"}
    return merchant.submit(form, "/admin/products/1", **fields, description="x" * 3000)


def _clean_up(spaces: Spaces) -> None:
    """What the sampling pass of a host does every few seconds."""
    os.sync()
    spaces.limit(ONE, "acme", 4 * MIB)


@pytest.mark.parametrize(
    ("language", "title"),
    [("en", "Your shop’s space is full"), ("ja", "ショップの容量がいっぱいです")],
)
def test_the_merchant_is_told_that_the_space_is_full(
    shop: Shop, spaces: Spaces, language: str, title: str
) -> None:
    merchant = Browser(shop, Accept_Language=language)
    merchant.log_in_and_choose_password()
    _fill(spaces)
    page = _save_product(merchant, "Cup")
    assert page.status == 507
    assert title in page.text
    assert merchant.get("/admin/products").status == 200


def test_visitors_look_around_and_an_order_is_refused_whole(shop: Shop, spaces: Spaces) -> None:
    visitor = Browser(shop)
    visitor.fill_cart(1, 1)
    _fill(spaces)
    refused = visitor.order(note="x" * 400)
    assert refused.status == 503
    assert "Nothing was ordered or changed" in refused.text
    for path in ("/", "/products/1", "/cart", "/healthz"):
        assert visitor.get(path).status == 200, path


def test_with_the_extra_the_merchant_can_delete_and_the_shop_sells_again(
    shop: Shop, spaces: Spaces
) -> None:
    merchant, visitor = Browser(shop), Browser(shop)
    merchant.log_in_and_choose_password()
    visitor.fill_cart(1, 1)
    _fill(spaces)
    form = merchant.get("/admin/products/6/remove")
    assert merchant.submit(form, "/admin/products/6/remove").status == 507
    _clean_up(spaces)
    assert merchant.submit(form, "/admin/products/6/remove").status == 303
    assert visitor.order().status == 303


def test_a_shop_starts_on_a_full_space_and_shows_its_shelf(shop: Shop, spaces: Spaces) -> None:
    assert Browser(shop).get("/").status == 200
    _fill(spaces)
    shop.stop()
    with running(spaces.volume("acme")) as again:
        assert Browser(again).get("/").status == 200
