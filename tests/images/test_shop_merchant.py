"""The merchant's side: who gets in, and what they can do there."""

import threading
import time
from pathlib import Path

from tests.images.shops import PASSWORD, SECRET, Browser, Shop, running


def test_the_first_secret_lets_in_once_a_password_is_chosen_it_no_longer_does(shop: Shop) -> None:
    merchant = Browser(shop)
    assert merchant.log_in().location == "/admin"
    assert merchant.get("/admin/products").location == "/admin/password", "first choose a password"
    merchant.choose_password()
    assert merchant.get("/admin/products").status == 200

    other = Browser(shop)
    assert other.log_in(SECRET).status == 403
    assert other.log_in(PASSWORD).status == 303
    assert other.get("/admin").status == 200


def test_a_wrong_secret_is_refused_and_guessing_is_slowed_down(shop: Shop) -> None:
    guesser = Browser(shop, X_Forwarded_For="203.0.113.7")
    assert [guesser.log_in(f"guess {n}").status for n in range(9)] == [403] * 8 + [429]
    assert guesser.log_in(SECRET).status == 429
    assert Browser(shop, X_Forwarded_For="203.0.113.8").log_in().status == 303, "others get in"


def test_nobody_gets_in_without_a_first_secret(tmp_path: Path) -> None:
    with running(tmp_path, STOA_FIRST_LOGIN_HASH="") as shop:
        assert Browser(shop).log_in("").status == 403


def test_without_a_session_every_merchants_page_leads_to_the_login(shop: Shop) -> None:
    for path in (
        "/admin",
        "/admin/products",
        "/admin/products/1",
        "/admin/orders/1",
        "/admin/password",
    ):
        assert Browser(shop).get(path).location == "/admin/login"
    stranger = Browser(shop)
    stranger.cookies["admin"] = "made-up"
    assert stranger.get("/admin").location == "/admin/login"


def test_logging_out_ends_the_session_for_good(shop: Shop) -> None:
    merchant = Browser(shop)
    page = merchant.log_in_and_choose_password()
    session = merchant.cookies["admin"]
    assert merchant.submit(page, "/admin/logout").status == 303
    merchant.cookies["admin"] = session

    assert merchant.get("/admin").location == "/admin/login"


def test_forms_without_their_ticket_or_from_elsewhere_are_refused(shop: Shop) -> None:
    merchant = Browser(shop)
    merchant.log_in_and_choose_password()
    ticket = merchant.get("/admin/products/1").hidden("ticket")
    fields = {"name": "Mine", "price": "1", "picture": "cup"}

    assert merchant.post("/admin/products/1", fields).status == 403
    visitors = merchant.get("/products/1").hidden("ticket")  # a visitor's is not the merchant's
    assert merchant.post("/admin/products/1", {**fields, "ticket": visitors}).status == 403
    honest = {**fields, "ticket": ticket}
    assert merchant.post("/admin/products/1", honest, Origin="http://evil.localhost").status == 403
    assert merchant.post("/admin/products/1", honest, Sec_Fetch_Site="same-site").status == 403
    assert merchant.post("/admin/products/1/remove", {}).status == 403
    assert "Stoneware cup" in merchant.get("/admin/products").text
    assert merchant.post("/admin/products/1", honest).status == 303


def test_a_visitors_form_without_its_ticket_is_refused(shop: Shop) -> None:
    visitor = Browser(shop)
    visitor.get("/")
    assert visitor.post("/cart", {"do": "add", "product": "1"}).status == 403
    other = Browser(shop).get("/products/1").hidden("ticket")
    assert visitor.post("/cart", {"do": "add", "product": "1", "ticket": other}).status == 403


def test_the_merchant_adds_changes_hides_and_removes_products(shop: Shop) -> None:
    merchant, visitor = Browser(shop), Browser(shop)
    merchant.log_in_and_choose_password()
    form = merchant.get("/admin/products/new")
    fields = {
        "name": "Oak stool",
        "price": "1,249.50",
        "stock": "2",
        "picture": "bowl",
        "shown": "1",
    }
    assert (
        merchant.submit(form, "/admin/products/new", **fields).location == "/admin/products?saved"
    )
    assert "€1,249.50" in visitor.get("/products/7").text
    assert "Only 2 left" in visitor.get("/").text

    merchant.submit(form, "/admin/products/7", **{**fields, "price": "99", "shown": ""})
    assert visitor.get("/products/7").status == 404
    assert "€99.00" in merchant.get("/admin/products").text

    assert merchant.submit(form, "/admin/products/7/remove").status == 303
    assert merchant.get("/admin/products/7").status == 404


def test_a_product_with_wrong_fields_is_not_saved_and_says_why(shop: Shop) -> None:
    merchant = Browser(shop)
    merchant.log_in_and_choose_password()
    form = merchant.get("/admin/products/new")
    wrong = {
        "name": "",
        "price": "12.345",
        "stock": "-1",
        "picture": "elephant",
        "description": "x" * 4001,
    }
    page = merchant.submit(form, "/admin/products/new", **wrong)

    assert page.status == 400
    assert (
        page.text.count('class="error"') == 5 - 1
    )  # a picture is chosen, not typed: no text under it
    assert merchant.get("/admin/products/7").status == 404


def test_an_order_goes_from_new_to_paid_to_shipped_and_cancelling_returns_the_stock(
    shop: Shop,
) -> None:
    visitor, merchant = Browser(shop), Browser(shop)
    for _ in range(2):
        visitor.fill_cart(2, 1)
        address = visitor.order().location
    merchant.log_in_and_choose_password()
    form = merchant.get("/admin/orders/2")
    assert merchant.submit(form, "/admin/orders/2", state="shipped").location.endswith("?late")
    merchant.submit(form, "/admin/orders/2", state="paid")
    merchant.submit(form, "/admin/orders/2", state="shipped")
    assert "Sent" in visitor.get(address).text

    assert "6 in stock" in merchant.get("/admin/products").text
    merchant.submit(form, "/admin/orders/1", state="cancelled")
    assert "7 in stock" in merchant.get("/admin/products").text


def test_cookies_are_hidden_from_scripts_and_tied_to_https_behind_it(shop: Shop) -> None:
    plain = Browser(shop).get("/").headers["Set-Cookie"]
    secure = Browser(shop, X_Forwarded_Proto="https").get("/").headers["Set-Cookie"]

    assert "HttpOnly; SameSite=Lax" in plain
    assert secure.startswith("__Host-cart=")
    assert secure.endswith("; Secure")


def test_a_password_check_does_not_stall_other_visitors(shop: Shop) -> None:
    merchant = Browser(shop)
    merchant.log_in_and_choose_password()
    page = Browser(shop).get("/admin/login")
    assert page.status == 200
    guess, visitor = Browser(shop), Browser(shop)
    form = guess.get("/admin/login")
    slow: list[float] = []
    quick: list[float] = []

    def check() -> None:
        began = time.monotonic()
        guess.submit(form, "/admin/login", secret="x" * 20)
        slow.append(time.monotonic() - began)

    thread = threading.Thread(target=check)
    thread.start()
    while thread.is_alive():
        began = time.monotonic()
        visitor.get("/healthz")
        quick.append(time.monotonic() - began)
    thread.join()
    assert len(quick) > 5
    assert sorted(quick)[len(quick) // 2] < slow[0] / 3


def test_guesses_from_everywhere_lock_no_merchant_out(shop: Shop) -> None:
    merchant = Browser(shop, X_Forwarded_For="203.0.113.7")
    assert merchant.log_in().status == 303
    merchant.cookies.pop("admin")  # the session is over, the browser stays known
    for number in range(40):
        guesser = Browser(shop, X_Forwarded_For=f"198.51.100.{number}")
        for guess in range(8):
            guesser.log_in(f"guess {guess}")
    neighbour = Browser(
        shop, X_Forwarded_For="203.0.113.7"
    )  # behind the same proxy as the merchant
    assert [neighbour.log_in(f"guess {n}").status for n in range(3)] == [403, 403, 429]
    assert merchant.log_in().status == 303
    fresh = Browser(shop, X_Forwarded_For="203.0.113.99")
    assert fresh.log_in().status == 303, "a browser never seen before gets in too"


def test_one_network_of_ipv6_is_one_guesser_and_a_made_up_browser_is_none(shop: Shop) -> None:
    codes = []
    for number in range(9):
        guesser = Browser(shop, X_Forwarded_For=f"2001:db8:0:1::{number + 1:x}")
        guesser.cookies["known"] = f"made.up{number}"
        codes.append(guesser.log_in(f"guess {number}").status)
    assert codes == [403] * 8 + [429]


def test_one_site_of_ipv6_is_one_guesser_and_locks_nobody_out(shop: Shop) -> None:
    codes = []
    for network in range(48):
        guesser = Browser(shop, X_Forwarded_For=f"2001:db8:7:{network:x}::1")
        codes += [guesser.log_in(f"guess {guess}").status for guess in range(8)]
    assert codes == [403] * 32 + [429] * (48 * 8 - 32)
    for address in ("2001:db8:8::1", "198.51.100.9", "::ffff:198.51.100.10"):
        fresh = Browser(shop, X_Forwarded_For=address)
        assert [fresh.log_in(f"guess {guess}").status for guess in range(7)] == [403] * 7
        assert fresh.log_in().status == 303
