"""The pages the edge itself answers with, in English and Japanese, each saying what to do next.

They are files HAProxy reads at its start: `.html` for answers decided by a rule, `.http` (head and
body) for those HAProxy gives when a connection fails.
"""

import json
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from pathlib import Path

from runtime.edge.config import EdgeConfig
from runtime.edge.limits import HEAD_BYTES, HEAD_LINES, PLATFORM_BODY_BYTES, URL_BYTES

_LIMIT = 15_000  # an answer has to fit into one HAProxy buffer of 16 KiB

_STYLE = Path(__file__).with_name("page.css").read_text().replace("\n", "")

_MARK = (
    '<svg width="36" height="36" viewBox="0 0 24 24" fill="currentColor" aria-hidden="true">'
    '<path d="M2 4h20v4H2zM4 10h3v10H4zM10.5 10h3v10h-3zM17 10h3v10h-3z"/></svg>'
)


@dataclass(frozen=True, slots=True)
class EdgePage:
    """What one page says. refresh_seconds: the browser asks again by itself; 0 = it does not."""

    status: int
    title: str
    text: str
    title_ja: str
    text_ja: str
    refresh_seconds: int = 0
    links_home: bool = False


PAGES = {
    "bad-host": EdgePage(
        400,
        "This request cannot be read",
        "It must carry exactly one Host name made of letters, digits, hyphens and dots. "
        "Please check the address and try again.",
        "リクエストを読み取れません",
        "Host 名は英数字・ハイフン・ドットだけで、ひとつだけ指定してください。アドレスをご確認ください。",
        links_home=True,
    ),
    "no-shop": EdgePage(
        404,
        "There is no shop at this address",
        "Please check the spelling. If this address is free, the shop here could be yours.",
        "このアドレスにショップはありません",
        "つづりをご確認ください。空いているアドレスなら、ここにご自分のショップを開けます。",
        links_home=True,
    ),
    "no-page": EdgePage(
        404,
        "There is no page at this address",
        "Please check the address, or start again from the first page.",
        "このアドレスにページはありません",
        "アドレスをご確認いただくか、最初のページからお進みください。",
        links_home=True,
    ),
    "shop-busy": EdgePage(
        429,
        "This shop is very busy right now",
        "Please wait a moment and load the page again.",
        "ただいま大変混み合っています",
        "しばらく待ってから、ページを読み込み直してください。",
    ),
    "shop-starting": EdgePage(
        503,
        "This shop is starting",
        "It will be here in a few seconds; where much data has to be put in place first, in some minutes. "
        "This page loads again by itself.",
        "ショップを準備しています",
        "あと数秒で開きます。大量のデータを準備している場合は、数分かかることがあります。"
        "このページは自動で読み込み直します。",
        refresh_seconds=5,
    ),
    "shop-asleep": EdgePage(
        503,
        "This shop is asleep",
        "It was not visited for a while and rests. Please try again in a moment; "
        "if this is your shop, you can wake it from your shop's page.",
        "ショップは休止しています",
        "しばらくご利用がなかったため休止中です。少し待ってからもう一度お試しください。"
        "ショップの持ち主の方は、管理ページから起動できます。",
        links_home=True,
    ),
    "shop-failed": EdgePage(
        502,
        "This shop's answer cannot be used",
        "It broke off, was not well formed, or had a far too large head. Please load the page again. "
        "If it stays this way, tell the shop's owner.",
        "ショップから正しい応答がありません",
        "応答が途中で切れたか、形式が正しくないか、ヘッダーが大きすぎます。"
        "ページを読み込み直してください。続く場合は、ショップの持ち主にお知らせください。",
    ),
    "shop-slow": EdgePage(
        504,
        "This shop took too long to answer",
        "Please load the page again in a moment. An order may have arrived: look before you send it twice.",
        "ショップの応答に時間がかかっています",
        "少し待ってから読み込み直してください。注文はすでに届いている場合があります。"
        "送り直す前にご確認ください。",
    ),
    "platform-away": EdgePage(
        503,
        "We will be back in a moment",
        "These pages are being restarted. Running shops are not affected. This page loads again by itself.",
        "まもなく再開します",
        "このページを再起動しています。営業中のショップに影響はありません。自動で読み込み直します。",
        refresh_seconds=5,
    ),
    "platform-busy": EdgePage(
        503,
        "Very many people are here right now",
        "Please wait a moment and load the page again. Running shops are not affected.",
        "ただいま大変混み合っています",
        "しばらく待ってから、ページを読み込み直してください。営業中のショップに影響はありません。",
    ),
    "edge-busy": EdgePage(
        503,
        "Very many people are here right now",
        "Please wait a moment and load the page again.",
        "ただいま大変混み合っています",
        "しばらく待ってから、ページを読み込み直してください。",
    ),
    "too-many": EdgePage(
        429,
        "Too many requests from your address",
        "You, or another user of your connection, sends too many requests. "
        "Please wait ten seconds and try again.",
        "お使いのアドレスからのリクエストが多すぎます",
        "同じ回線から大量のリクエストが届いています。10 秒ほど待ってから、もう一度お試しください。",
    ),
    "body-too-large": EdgePage(
        413,
        "What you sent is too large",
        f"At most {PLATFORM_BODY_BYTES // 1024} KiB can be sent here at once. Please send less.",
        "送信されたデータが大きすぎます",
        f"一度に送信できるのは {PLATFORM_BODY_BYTES // 1024} KiB までです。小さくしてからお試しください。",
    ),
    "no-tunnel": EdgePage(
        405,
        "Nobody is connected through here",
        "CONNECT is for proxies, and this is none. Please ask for a page.",
        "中継には対応していません",
        "CONNECT はプロキシ用のメソッドです。ここはプロキシではありません。ページをリクエストしてください。",
    ),
    "url-too-long": EdgePage(
        414,
        "This address is too long",
        f"An address may have at most {URL_BYTES:,} bytes. Please start again from the first page.",
        "アドレスが長すぎます",
        f"アドレスは {URL_BYTES:,} バイトまでです。最初のページからお進みください。",
    ),
    "head-too-large": EdgePage(
        431,
        "Your browser sent too much beside the request",
        f"All header lines together may have at most {HEAD_BYTES // 1024} KiB and {HEAD_LINES} lines. "
        "It is mostly cookies: please delete this site's cookies and try again.",
        "リクエストのヘッダーが大きすぎます",
        f"ヘッダーは合計 {HEAD_BYTES // 1024} KiB、{HEAD_LINES} 行までです。"
        "多くは Cookie が原因です。このサイトの Cookie を削除してから、もう一度お試しください。",
    ),
    "answer-too-large": EdgePage(
        502,
        "This shop's answer has too large a head",
        f"The header lines of an answer may have at most {HEAD_BYTES // 1024} KiB and {HEAD_LINES} lines. "
        "If it stays this way, tell the shop's owner; mostly it sets too many cookies.",
        "ショップの応答ヘッダーが大きすぎます",
        f"応答のヘッダーは合計 {HEAD_BYTES // 1024} KiB、{HEAD_LINES} 行までです。"
        "続く場合は、ショップの持ち主にお知らせください。多くは Cookie の設定しすぎが原因です。",
    ),
    "403": EdgePage(
        403,
        "This request is not allowed",
        "Please check the address, or start again from the first page.",
        "このリクエストは許可されていません",
        "アドレスをご確認いただくか、最初のページからお進みください。",
    ),
    "500": EdgePage(
        500,
        "Something went wrong here",
        "It is not your fault. Please try again in a moment.",
        "エラーが発生しました",
        "お客様の操作の問題ではありません。少し待ってから、もう一度お試しください。",
    ),
    "400": EdgePage(
        400,
        "This request cannot be read",
        "It was not well formed, or its head was far too large. Please check the address, "
        "delete this site's cookies and try again.",
        "リクエストを読み取れません",
        "形式が正しくないか、ヘッダーが大きすぎます。アドレスをご確認いただき、"
        "このサイトの Cookie を削除してから、もう一度お試しください。",
    ),
    "408": EdgePage(
        408,
        "The request took too long to arrive",
        "Please check your connection and try again.",
        "リクエストの受信が時間内に終わりませんでした",
        "接続をご確認のうえ、もう一度お試しください。",
    ),
}

# Given by HAProxy itself, with a head of ours in the file.
_GIVEN_BY_HAPROXY = (
    "400",
    "403",
    "408",
    "500",
    "too-many",
    "body-too-large",
    "shop-failed",
    "shop-starting",
    "shop-slow",
    "platform-away",
)
_HTML, _PROBLEM = "text/html; charset=utf-8", "application/problem+json"


def files(config: EdgeConfig) -> dict[str, bytes]:
    """Return every page file by name, as haproxy_cfg expects them in state_dir/pages."""
    found: dict[str, bytes] = {}
    for name, page in PAGES.items():
        body = html(page, home=config.console_url).encode()
        if len(body) > _LIMIT:
            raise ValueError(f"page {name} has {len(body)} bytes; it must stay below {_LIMIT}")
        found[f"{name}.html"] = body
        found[f"{name}-json.http"] = _with_head(page, _PROBLEM, problem(page))
        if name in _GIVEN_BY_HAPROXY:
            found[f"{name}.http"] = _with_head(page, _HTML, body)
    return found


def problem(page: EdgePage) -> bytes:
    """Return one page as a problem document (RFC 9457), for programs."""
    words = {
        "type": "about:blank",
        "title": HTTPStatus(page.status).phrase,
        "status": page.status,
        "detail": f"{page.title}. {page.text}",
    }
    return json.dumps(words).encode() + b"\n"


def html(page: EdgePage, *, home: str) -> str:
    """Return one page as HTML; home is the address of the platform's first page."""
    refresh = (
        f'<meta http-equiv="refresh" content="{page.refresh_seconds}">'
        if page.refresh_seconds
        else ""
    )
    link = f'<p><a href="{escape(home)}">{escape(home)}</a></p>' if page.links_home else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="robots" content="noindex">{refresh}'
        f"<title>{escape(page.title)} · {escape(page.title_ja)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{_MARK}<h1>{escape(page.title)}</h1><p>{escape(page.text)}</p>"
        f'<section lang="ja"><h2>{escape(page.title_ja)}</h2><p>{escape(page.text_ja)}</p></section>'
        f"{link}<small>Stoa · {page.status}</small></main></body></html>\n"
    )


def _with_head(page: EdgePage, content_type: str, body: bytes) -> bytes:
    head = [
        f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if page.status in {429, 503}:
        head.append("Retry-After: 5")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
