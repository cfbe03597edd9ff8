"""From the shelf to an order that the merchant sees, and what must not go wrong on the way."""

from pathlib import Path

from tests.images.shops import Browser, Shop, disk_bytes, running


def test_a_visitor_buys_and_the_merchant_sees_the_order(shop: Shop) -> None:
    visitor = Browser(shop)
    assert "Stoneware cup" in visitor.get("/").text
    added = visitor.follow(visitor.fill_cart(1, 2))
    assert "In your cart: 2" in added.text
    assert "€36.00" in visitor.get("/cart").text

    confirmed = visitor.follow(visitor.order(name="Ada Lovelace"))

    assert "Thank you" in confirmed.text
    assert "€36.00" in confirmed.text
    assert "Your cart is empty" in visitor.get("/cart").text
    merchant = Browser(shop)
    assert "Ada Lovelace" in merchant.log_in_and_choose_password().text
    assert "Stoneware cup" in merchant.get("/admin/orders/1").text
    assert "22 in stock" in merchant.get("/admin/products").text


def test_pressing_the_order_button_twice_makes_one_order(shop: Shop) -> None:
    visitor = Browser(shop)
    visitor.fill_cart(2, 1)
    form = visitor.get("/checkout")
    fields = {"try": form.hidden("try"), "name": "A", "email": "a@b.example", "address": "X"}
    first = visitor.submit(form, "/checkout", **fields)
    second = visitor.submit(form, "/checkout", **fields)

    assert first.location == second.location
    merchant = Browser(shop)
    merchant.log_in_and_choose_password()
    assert merchant.get("/admin/orders/2").status == 404


def test_two_visitors_have_two_carts(shop: Shop) -> None:
    one, two = Browser(shop), Browser(shop)
    one.fill_cart(1, 1)
    two.fill_cart(2, 3)

    assert "Stoneware cup" in one.get("/cart").text
    assert "Tall vase" not in one.get("/cart").text
    assert "Tall vase" in two.get("/cart").text


def test_a_cart_cookie_somebody_wrote_themselves_is_an_empty_cart(shop: Shop) -> None:
    visitor = Browser(shop)
    visitor.fill_cart(1, 1)
    visitor.cookies["cart"] = visitor.cookies["cart"].replace("1x1", "1x9")

    assert "Your cart is empty" in visitor.get("/cart").text


def test_no_more_is_sold_than_there_is(shop: Shop) -> None:
    one, two = Browser(shop), Browser(shop)
    one.fill_cart(2, 8)
    two.fill_cart(2, 8)
    assert one.order().location.startswith("/orders/")

    late = two.order()

    assert late.location == "/cart"
    assert "no longer there in that number" in two.get("/cart").text
    assert two.get("/products/2").text.count("Sold out") == 1


def test_an_incomplete_order_says_what_is_missing_and_keeps_the_rest(shop: Shop) -> None:
    visitor = Browser(shop)
    visitor.fill_cart(1, 1)

    for email in ("", "nobody", "a@b", "a b@c.example", "a@b@c.example", "a@.example"):
        page = visitor.order(name="Ada & Co", email=email)
        assert page.status == 400
        assert "enter an e-mail address" in page.text
        assert 'value="Ada &amp; Co"' in page.text


def test_what_buyers_and_merchants_write_is_escaped_everywhere(shop: Shop) -> None:
    script = "<script>alert(1)</script>\"'"
    visitor = Browser(shop)
    visitor.fill_cart(1, 1)
    confirmed = visitor.follow(visitor.order(name=script, address=script, note=script))
    merchant = Browser(shop)
    pages = [confirmed.text, merchant.log_in_and_choose_password().text]
    form = merchant.get("/admin/products/1")
    fields = {"name": script, "description": script, "price": "1", "picture": "cup", "shown": "1"}
    assert merchant.submit(form, "/admin/products/1", **fields).status == 303
    paths = ("/admin/orders/1", "/admin/products", "/admin/products/1", "/admin/products/1/remove")
    pages += [merchant.get(path).text for path in paths]
    pages += [visitor.get(path).text for path in ("/", "/products/1", "/nowhere?<script>")]

    assert all("<script" not in page for page in pages)
    assert all("Acme &lt;&amp; Söhne&gt;" in page for page in pages)


def test_a_japanese_visitor_is_served_in_japanese_and_may_switch(shop: Shop) -> None:
    visitor = Browser(shop, Accept_Language="ja,en;q=0.5")
    assert '<html lang="ja">' in visitor.get("/").text
    assert "カート" in visitor.get("/cart").text

    assert '<html lang="en">' in visitor.get("/?lang=en").text
    assert '<html lang="en">' in visitor.get("/").text  # kept in a cookie


def test_a_japanese_shop_has_japanese_goods_in_yen(tmp_path: Path) -> None:
    with running(tmp_path, STOA_LANGUAGE="ja", STOA_SHOP_NAME="青い回廊") as shop:
        page = Browser(shop).get("/").text
        assert "背の高い花器" in page
        assert "¥6,800" in page


def test_data_outlives_the_program_and_a_kill(tmp_path: Path) -> None:
    with running(tmp_path) as shop:
        visitor = Browser(shop)
        visitor.fill_cart(1, 1)
        address = visitor.order().location
        shop.process.kill()
        shop.process.wait()
    with running(tmp_path) as shop:
        again = Browser(shop)
        assert "Thank you" in again.get(address).text
        again.cookies = visitor.cookies
        assert again.fill_cart(1, 1).status == 303, "forms handed out before still count"


def test_a_shop_is_born_on_at_most_64_kilobytes(tmp_path: Path) -> None:
    home = tmp_path / "data"
    home.mkdir()
    with running(home) as shop:
        assert Browser(shop).get("/").status == 200
        assert disk_bytes(home) <= 65536


def test_memory_stays_below_nine_megabytes_after_use(shop: Shop) -> None:
    for _ in range(20):
        visitor = Browser(shop)
        visitor.fill_cart(1, 1)
        visitor.order()
    Browser(shop).log_in_and_choose_password()

    assert shop.private_kilobytes() < 9 * 1024
