"""Money: whole numbers of a currency's smallest unit, shown and read in the shop's currency."""

from __future__ import annotations

_SYMBOLS = {"EUR": "€", "GBP": "£", "JPY": "¥", "USD": "$", "KRW": "₩", "INR": "₹"}
_WITHOUT_PARTS = ("JPY", "KRW", "VND", "CLP", "ISK", "XAF", "XOF", "PYG", "UGX", "RWF", "XPF")
_THREE_DIGITS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")

MOST = 10**10  # smallest units; far above any price, far below what SQLite or a reader can hold


def digits(currency: str) -> int:
    """Return how many decimal places the currency has."""
    return 0 if currency in _WITHOUT_PARTS else 3 if currency in _THREE_DIGITS else 2


def plain(amount: int, currency: str) -> str:
    """`1250` EUR to `12.50`, as a form field holds it."""
    places = digits(currency)
    if not places:
        return str(amount)
    text = str(amount).rjust(places + 1, "0")
    return f"{text[:-places]}.{text[-places:]}"


def show(amount: int, currency: str) -> str:
    """`125000` EUR to `€1,250.00`."""
    whole, point, part = plain(amount, currency).partition(".")
    return f"{_SYMBOLS.get(currency, currency + ' ')}{int(whole):,}{point}{part}"


def read(text: str, currency: str) -> int | None:
    """Parse what a merchant typed as a price; None if it is not one: `12`, `12.5`, `1,250.00`, `１２`."""
    text = text.strip().replace("，", ",").replace("．", ".")
    places = digits(currency)
    whole, _, part = text.replace(",", "").partition(".")
    if not places and part.strip("0"):
        return None
    if (
        text.count(",") == 1
        and "." not in text
        and 0 < len(text) - text.index(",") - 1 <= 2
        and places
    ):
        whole, _, part = text.partition(",")  # 12,50 as written in most of Europe
    if not whole.isdecimal() or (part and not part.isdecimal()) or len(part.rstrip("0")) > places:
        return None
    amount = int(whole + part.rstrip("0").ljust(places, "0"))
    return amount if amount <= MOST else None
