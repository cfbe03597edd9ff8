"""From the sign-up page to an order placed and seen, on real parts, as people would do it."""

import itertools
import re
import time

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.stoa import Stack

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.slow]

PASSWORD = "a long enough password"
_numbers = itertools.count(int(time.time()) % 100000)


def fill_in(page: Page, name: str, slug: str) -> None:
    """Fill in the sign-up form with a login of its own."""
    page.fill("#shop_name", name)
    page.fill("#slug", slug)
    page.fill("#email", f"{slug}@example.com")
    page.fill("#password", PASSWORD)


def new_slug(word: str) -> str:
    """A name nobody has yet."""
    return f"{word}-{next(_numbers)}"


def sign_up(page: Page, name: str, slug: str) -> None:
    """Sign up and wait for the open shop."""
    fill_in(page, name, slug)
    page.click("[data-signup] button[data-once]")
    expect(page.locator("#first-login")).to_be_visible(timeout=30_000)


def assert_fits(page: Page) -> None:
    """Nothing sticks out at the side."""
    wide = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"{page.url} is {wide} px too wide"


def test_from_the_sign_up_page_to_an_order_the_merchant_sees(
    open_page: OpenPage, stack: Stack
) -> None:
    # The merchant signs up, follows the operation, and is shown address and secret.
    merchant = open_page()
    merchant.fill("#shop_name", "Blue Heron Books")
    expect(merchant.locator("#slug")).to_have_value(re.compile("^blue-heron-books"))
    expect(merchant.locator("#slug-status")).to_have_text("This address is free.")
    slug = new_slug("heron")
    sign_up(merchant, "Blue Heron Books", slug)
    expect(merchant.locator("h1")).to_have_text("Your shop is open")
    expect(merchant.locator(".address a")).to_have_text(
        stack.shop_url(slug).removeprefix("http://")
    )
    merchant.click("text=Show the secret")
    secret = merchant.locator("[data-secret]").inner_text()
    assert re.fullmatch(r"[0-9a-z]{7}(-[0-9a-z]{7}){3}", secret)

    product = order(open_page(), stack.shop_url(slug))
    log_in_first(merchant, stack.shop_url(slug), secret)
    merchant.locator("ul.list a.line").first.click()
    body = merchant.locator("main")
    expect(body).to_contain_text("Chiara Customer")
    expect(body).to_contain_text("chiara@example.com")
    expect(body).to_contain_text(product)


def order(customer: Page, shop: str) -> str:
    """Visit the shop, put the first product into the cart, and order it; its name."""
    customer.goto(shop)
    expect(customer).to_have_title(re.compile("Blue Heron Books"))
    customer.locator("a.card").first.click()
    product = customer.locator("h1").inner_text()
    customer.click("form.buy button")
    customer.goto(f"{shop}/cart")
    customer.click("text=Go to checkout")
    customer.fill("#name", "Chiara Customer")
    customer.fill("#email", "chiara@example.com")
    customer.fill("#address", "1 Harbour Road\n10000 Port\nIreland")
    customer.click("text=Place the order")
    expect(customer.locator("h1")).to_have_text("Thank you for your order")
    return product


def log_in_first(merchant: Page, shop: str, secret: str) -> None:
    """Log in to the shop with the first-login secret, and choose a password."""
    merchant.goto(f"{shop}/admin")
    merchant.fill("#secret", secret)
    merchant.click("main button.big")
    merchant.fill("#new", "another long password")
    merchant.fill("#again", "another long password")
    merchant.click("main button.big")


def test_a_reload_and_a_broken_connection_in_the_middle_change_nothing(
    open_page: OpenPage, stack: Stack
) -> None:
    slug = new_slug("patient")
    page = open_page()
    stack.stop("control")
    try:
        fill_in(page, "Patience", slug)
        page.click("[data-signup] button[data-once]")
        page.wait_for_url("**/operations/**")
        expect(page.locator("h1")).to_have_text("Your shop is being set up")
        page.reload()
        expect(page.locator(".step")).to_have_count(4)
        expect(page.locator(".step.done")).to_have_count(0)
        stack.restart("events")
    finally:
        stack.start("control")
    expect(page.locator("h1")).to_have_text("Your shop is open", timeout=40_000)
    assert stack.get(slug).status_code == httpx.codes.OK


def test_a_double_click_and_the_way_back_make_one_shop(open_page: OpenPage, stack: Stack) -> None:
    slug = new_slug("twice")
    page = open_page()
    fill_in(page, "Twice", slug)
    page.dblclick("[data-signup] button[data-once]")
    expect(page.locator("#first-login")).to_be_visible(timeout=30_000)
    there = page.url
    page.go_back()
    fields = page.locator("#slug")
    if fields.input_value() != slug:
        fields.fill(slug)
    if page.locator("#password").count():
        page.fill("#password", PASSWORD)
        page.click("[data-signup] button[data-once]")
        expect(page).to_have_url(there)
    found = stack.api.get(f"/api/v1/tenants/{slug}")
    assert found.status_code == httpx.codes.OK


def test_on_a_phone_in_japanese_every_page_fits_and_speaks_japanese(
    open_page: OpenPage, stack: Stack
) -> None:
    page = open_page("/", width=390, locale="ja-JP", has_touch=True, is_mobile=True)
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    page.fill("#shop_name", "花屋みどり")
    expect(page.locator("#slug")).to_have_value(re.compile("^hanaya-midori"))
    assert_fits(page)
    slug = new_slug("hanaya")
    sign_up(page, "花屋みどり", slug)
    expect(page.locator("h1")).to_have_text("ショップが開店しました")
    assert_fits(page)
    for path in ("/shops/", f"/shops/{slug}/", f"/shops/{slug}/remove/"):
        page.goto(stack.console_url + path)
        expect(page.locator("main")).to_contain_text("花屋みどり")
        assert_fits(page)
    page.goto(stack.shop_url(slug))
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    assert_fits(page)


def test_without_scripts_the_whole_way_still_works(open_page: OpenPage, stack: Stack) -> None:
    slug = new_slug("plain")
    page = open_page("/", java_script_enabled=False)
    fill_in(page, "Plain", slug)
    page.click("[data-signup] button[data-once]")
    expect(page.locator("#first-login")).to_be_visible(timeout=30_000)
    page.click("text=Show the secret")
    expect(page.locator("[data-secret]")).to_have_text(re.compile("^[0-9a-z-]{31}$"))
    page.goto(f"{stack.console_url}/shops/{slug}/")
    page.click("text=Remove…")
    page.fill("#typed", slug)
    page.click("button.danger")
    expect(page.locator("h1")).to_have_text("Your shop has been removed", timeout=30_000)


def test_a_shop_is_removed_by_typing_its_name_and_its_address_is_gone(
    open_page: OpenPage, stack: Stack
) -> None:
    slug = new_slug("leaving")
    page = open_page()
    sign_up(page, "Leaving", slug)
    page.goto(f"{stack.console_url}/shops/{slug}/")
    page.click("[data-dialog]")
    button = page.locator("dialog button.danger")
    expect(button).to_be_disabled()
    page.fill("dialog #typed", slug)
    button.click()
    expect(page.locator("h1")).to_have_text("Your shop has been removed", timeout=30_000)
    assert stack.get(slug).status_code == httpx.codes.NOT_FOUND
    answer = page.request.get(f"{stack.console_url}/signup/availability/?slug={slug}")
    assert answer.json()["available"] is True


def test_what_is_wrong_is_said_while_typing_and_after_sending(
    open_page: OpenPage, stack: Stack
) -> None:
    page = open_page()
    page.fill("#slug", "admin")
    status = page.locator("#slug-status")
    expect(status).to_contain_text("is kept for the platform")
    page.locator("[data-take]").first.click()
    expect(status).to_have_text("This address is free.")
    page.fill("#email", "nope")
    page.fill("#password", "short")
    page.click("[data-signup] button[data-once]")
    expect(page.locator("#email-error")).to_be_visible()
    expect(page.locator("#password-error")).to_be_visible()
    expect(page.locator("#shop_name-error")).to_have_text("Give your shop a name.")
    expect(page.locator(":focus")).to_have_id("shop_name")


def test_an_operator_sees_the_host_and_the_shop_on_it(open_page: OpenPage, stack: Stack) -> None:
    slug = new_slug("seen")
    stack.wait(stack.sign_up(slug)["operation"]["id"])
    login = (stack.var / "operator-login").read_text()
    words = re.findall(r"\S+", login)
    email = next(word for word in words if "@" in word)
    page = open_page("/login/?next=/operator/")
    page.fill("#email", email)
    page.fill("#password", words[-1])
    page.click("main button[data-once]")
    expect(page.locator("#hosts-title")).to_be_visible()
    expect(page.locator(".hosts .card").first).to_contain_text("reports")
    page.click("text=Tenants")
    page.fill("#q", slug)
    expect(page.locator("#tenants tbody tr")).to_have_count(1)
    page.click(f"text={slug}")
    expect(page.locator("main")).to_contain_text("Why it is where it is")
    assert page.locator("main").inner_text().count("local") >= 2
    for path in ("/operator/", "/operator/hosts/local/", "/operator/operations/"):
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(stack.console_url + path)
        assert_fits(page)
