"""How alarms leave the pages: by mail, or into a directory where there is no mail server; by a webhook.

Where they go is the operator's setting alone, so an address inside our own network is meant. Both bound every
wait, and what fails says why without a secret in it.
"""

import hashlib
import hmac
import http.client
import json
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from tenants.core import alarm_kinds
from tenants.core.models import Notice

WAIT_SECONDS = 5.0  # for the network, each time
WHOLE_SECONDS = 15.0
MOST_LISTED = 50
KEPT_IN_OUTBOX = 200
SIGNATURE = "X-Stoa-Signature"


class ChannelError(Exception):
    """A channel did not take a notice; the message says why and holds no secret."""


def mail(notices: Sequence[Notice]) -> None:
    """Send one mail with all of it, or write it to var/outbox where no mail server is set. ChannelError."""
    kind, place = _mail_server()
    message = EmailMessage(
        subject=_subject(notices),
        body=_text(notices),
        from_email=settings.STOA_ALARM_MAIL_FROM,
        to=[address.strip() for address in settings.STOA_ALARM_MAIL.split(",")],
        headers={"Message-ID": f"<alarm-{notices[-1].pk}@{settings.STOA_CONSOLE_HOST}>"},
        connection=get_connection(f"django.core.mail.backends.{kind}.EmailBackend", **place),
    )
    try:
        message.send()
    except (OSError, smtplib.SMTPException) as error:
        raise ChannelError(_without_secrets(f"{type(error).__name__}: {error}")) from error
    if kind == "filebased":
        _thin_out(Path(str(place["file_path"])))


def webhook(notices: Sequence[Notice]) -> None:
    """POST it as JSON with a signature: any 2xx is taken, redirects are not followed. ChannelError."""
    place = urlsplit(settings.STOA_ALARM_WEBHOOK)
    body = json.dumps(_document(notices), ensure_ascii=False).encode()
    now = str(int(time.time()))
    key = settings.ALARM_WEBHOOK_KEY.encode()
    signature = hmac.new(key, f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname or "", place.port, timeout=WAIT_SECONDS)
    late = threading.Timer(WHOLE_SECONDS, _hang_up, [connection])
    late.start()
    try:
        connection.request(
            "POST",
            f"{place.path or '/'}{f'?{place.query}' if place.query else ''}",
            body,
            {
                "Content-Type": "application/json",
                "User-Agent": "Stoa",
                SIGNATURE: f"t={now},v1={signature}",
            },
        )
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        raise ChannelError(
            f"{place.hostname} does not answer: {type(error).__name__}: {_plain(error)}"
        ) from error
    finally:
        late.cancel()
        connection.close()
    if not 200 <= status < 300:
        hint = "; redirects are not followed" if 300 <= status < 400 else ""
        raise ChannelError(f"{place.hostname} answered {status}{hint}")


def _mail_server() -> tuple[str, dict[str, Any]]:
    if not settings.STOA_SMTP_URL:
        return "filebased", {"file_path": str(Path(settings.STOA_VAR) / "outbox")}
    place = urlsplit(settings.STOA_SMTP_URL)
    return "smtp", {
        "host": place.hostname,
        "port": place.port or {"smtp": 25, "smtp+tls": 587, "smtps": 465}[place.scheme],
        "username": unquote(place.username or ""),
        "password": settings.SMTP_PASSWORD if place.username else "",
        "use_tls": place.scheme == "smtp+tls",
        "use_ssl": place.scheme == "smtps",
        "timeout": WAIT_SECONDS,
    }


def _subject(notices: Sequence[Notice]) -> str:
    first = notices[0]
    more = f" (and {len(notices) - 1} more)" if len(notices) > 1 else ""
    return f"[Stoa {settings.STOA_CONSOLE_HOST}] {first.kind}: {_plain(first.message)[:120]}{more}"


def _text(notices: Sequence[Notice]) -> str:
    lines = [_lines(notice) for notice in notices[:MOST_LISTED]]
    if len(notices) > MOST_LISTED:
        lines.append(f"and {len(notices) - MOST_LISTED} more")
    return "\n".join(
        [*lines, "", f"All that is open now: {settings.STOA_CONSOLE_URL}/operator/", ""]
    )


def _lines(notice: Notice) -> str:
    kind = alarm_kinds.of(notice.key)
    does_open = kind is not None and notice.kind == Notice.Kind.OPENED
    remedy = f"\n    {kind.severity}: {kind.remedy}" if kind and does_open else ""
    return f"{notice.at:%Y-%m-%d %H:%M:%S} UTC  {notice.kind:6}  {notice.message}\n    {notice.key}{remedy}"


def _severity(notice: Notice) -> str:
    kind = alarm_kinds.of(notice.key)
    return kind.severity.value if kind else ""


def _document(notices: Sequence[Notice]) -> dict[str, object]:
    return {
        "stoa": settings.STOA_CONSOLE_URL,
        "alarms": [
            {
                # The same one when it is sent again: it is delivered at least once.
                "id": f"ntc_{notice.pk}",
                "state": notice.kind,
                "key": notice.key,
                "severity": _severity(notice),
                "message": notice.message,
                "at": notice.at.isoformat(),
            }
            for notice in notices[:MOST_LISTED]
        ],
        "more": max(0, len(notices) - MOST_LISTED),
    }


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """Ends a wait that trickles on byte by byte."""
    with suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)


def _thin_out(outbox: Path) -> None:
    for file in sorted(outbox.glob("*.log"), key=lambda path: path.stat().st_mtime)[
        :-KEPT_IN_OUTBOX
    ]:
        file.unlink(missing_ok=True)


def _without_secrets(text: str) -> str:
    secret = settings.SMTP_PASSWORD
    return _plain(text.replace(secret, "…") if secret else text)


def _plain(text: object) -> str:
    return " ".join(str(text).split())[:250]
