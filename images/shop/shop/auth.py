"""Who the merchant is: the first log-in, the password, sessions, and a brake on guessing."""

from __future__ import annotations

from time import monotonic, time

from . import password, sign
from .messages import HttpError, Response
from .server import Later
from .visit import Visit, refuse_foreign

SESSION_SECONDS = 12 * 3600
MOST_SESSIONS = 8
SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 200

WINDOW_SECONDS = 300
TRIES_EACH = (
    8  # wrong ones per visitor's address and window; a browser that was in before has its own
)
SITE_TIMES = 4  # so many times that for the /48 of an IPv6 address: one person may have all of it
TRIES_ALL = 300  # from all unknown browsers; beyond it each address has TRIES_UNDER_ATTACK
TRIES_UNDER_ATTACK = 2
KNOWN_SECONDS = 365 * 86400
_MOST_CLIENTS = 4096
_OTHERS = "others"

_wrong_tries: dict[str, int] = {}
_window_began = 0.0


class Merchant:
    """A visit by somebody who is logged in."""

    __slots__ = ("_id", "must_change", "visit")

    def __init__(self, visit: Visit, session: str, must_change: bool) -> None:
        self.visit = visit
        self.must_change = must_change
        self._id = session

    @property
    def ticket(self) -> str:
        """The hidden field of this session's forms."""
        return f'<input type="hidden" name="ticket" value="{self._ticket()}">'

    def form(self) -> dict[str, str]:
        """The posted form, after making sure that it comes from this session's page; HttpError 403."""
        fields = self.visit.request.form()
        refuse_foreign(self.visit.request)
        if not sign.same(fields.get("ticket", "").encode(), self._ticket().encode()):
            raise HttpError(403, "ticket")
        return fields

    def log_out(self) -> None:
        self.visit.shop.store.change("DELETE FROM session WHERE id = ?", self._id)
        self.visit.set_cookie("admin", "", 0)

    def _ticket(self) -> str:
        return sign.mark(self.visit.shop.store.key, "merchant", self._id)


def merchant(visit: Visit) -> Merchant | None:
    """The merchant, if this visit carries a session that has not run out."""
    cookie = visit.cookie("admin")
    if not cookie:
        return None
    found = visit.shop.store.one(
        "SELECT id, must_change FROM session WHERE id = ? AND made_at > ?",
        _session_id(cookie),
        int(time()) - SESSION_SECONDS,
    )
    return Merchant(visit, found[0], bool(found[1])) if found else None


def log_in(visit: Visit, secret: str, welcome, refuse) -> Response | Later:
    """Check a secret: `welcome()` answers after a session was begun, `refuse()` when it is wrong.

    Until the merchant has chosen a password, that is the first-login secret; afterwards the password. Only
    a salted SHA-256 of the secret is known here: 128 random bits need no slow hash.
    """
    _brake(visit)
    kept = visit.shop.store.setting("password")

    def decide(right: bool) -> Response:
        if not right:
            _count_wrong(visit)
            return refuse()
        begin_session(visit, must_change=not kept)
        return welcome()

    if kept:
        return password.check(secret[: LONGEST_PASSWORD + 1], kept, decide)
    return decide(_is_first_login(visit, secret))


def change_password(who: Merchant, fields: dict[str, str], done, refuse) -> Response | Later:
    """Choose a password: `done()` answers after it, `refuse(reason)` names the phrase that says why not."""
    visit = who.visit
    new = fields.get("new", "")
    if reason := _unfit(visit, new, fields.get("again", "")):
        return refuse(reason)

    def keep(kept: str) -> Response:
        with visit.shop.store as store:
            store.keep("password", kept)
            store.change("DELETE FROM session")  # ends every other session
            begin_session(visit, must_change=False)
        return done()

    kept_before = visit.shop.store.setting("password")
    if who.must_change or not kept_before:
        return password.make(new, keep)

    def decide(right: bool) -> Response | Later:
        if right:
            return password.make(new, keep)
        _count_wrong(visit)
        return refuse("wrong_current")

    _brake(visit)
    return password.check(fields.get("current", "")[: LONGEST_PASSWORD + 1], kept_before, decide)


def begin_session(visit: Visit, *, must_change: bool) -> None:
    """Give this browser a session, and forget the ones that ran out or are too many."""
    secret = sign.token(24)
    now = int(time())
    store = visit.shop.store
    store.change("INSERT INTO session VALUES (?, ?, ?)", _session_id(secret), now, int(must_change))
    store.change(
        "DELETE FROM session WHERE made_at <= ? OR id NOT IN"
        " (SELECT id FROM session ORDER BY made_at DESC, id LIMIT ?)",
        now - SESSION_SECONDS,
        MOST_SESSIONS,
    )
    visit.set_cookie("admin", secret, SESSION_SECONDS)
    if not _known_browser(visit):
        name = sign.seal(store.key, "known", sign.token(9))
        visit.set_cookie("known", name, KNOWN_SECONDS)


def _session_id(secret: str) -> str:
    """Return what is stored of a session's cookie; a reader of the database still cannot log in."""
    return sign.digest(secret.encode()).hex()[:32]


def _is_first_login(visit: Visit, secret: str) -> bool:
    known = visit.shop.config.first_login_hash
    return known is not None and sign.same(
        sign.digest(known[0] + secret.strip().encode()), known[1]
    )


def _unfit(visit: Visit, new: str, again: str) -> str:
    """The phrase that says why this cannot be the password, or nothing."""
    if len(new) < SHORTEST_PASSWORD:
        return "password_short"
    if len(new) > LONGEST_PASSWORD:
        return "password_long"
    if new != again:
        return "password_differs"
    if _is_first_login(visit, new):
        return "password_is_first"
    return ""


def _brake(visit: Visit) -> None:
    """HttpError 429 for a visitor who has guessed too often in this window.

    Nobody can use up a merchant's tries: a browser that was let in before has a count of its own, and
    under attack by many addresses a fresh one still has some.
    """
    global _window_began
    now = monotonic()
    if now - _window_began >= WINDOW_SECONDS:
        _window_began = now
        _wrong_tries.clear()
    each = TRIES_UNDER_ATTACK if _all_unknown() >= TRIES_ALL else TRIES_EACH
    for who in _counted_as(visit):
        most = each
        if who == _OTHERS:
            most = TRIES_ALL
        elif who.startswith("known "):
            most = TRIES_EACH
        elif who.startswith("site "):
            most = each * SITE_TIMES
        if _wrong_tries.get(who, 0) >= most:
            raise HttpError(429)


def _count_wrong(visit: Visit) -> None:
    for who in _counted_as(visit):
        _wrong_tries[who] = _wrong_tries.get(who, 0) + 1


def _all_unknown() -> int:
    return sum(
        tries for who, tries in _wrong_tries.items() if not who.startswith(("known ", "site "))
    )


def _counted_as(visit: Visit) -> tuple[str, ...]:
    """Under which names a visitor's tries are counted. Nobody's count gives way to another's."""
    if known := _known_browser(visit):
        return ("known " + known,)
    names = _names_of(visit.request.client)
    if len(_wrong_tries) >= _MOST_CLIENTS and any(name not in _wrong_tries for name in names):
        return (_OTHERS,)
    return names


def _names_of(client: str) -> tuple[str, ...]:
    """An IPv4 address itself; of an IPv6 network everybody has a /64, and many a whole site, a /48."""
    if client.startswith("::ffff:"):
        return (client[7:],)
    if ":" not in client:
        return (client,)
    groups = (client.partition("::")[0].split(":") + ["0"] * 4)[:4]
    return (":".join(groups), "site " + ":".join(groups[:3]))


def _known_browser(visit: Visit) -> str:
    """The name we gave this browser when it logged in; nothing for one that never did."""
    sealed = visit.cookie("known")
    return (sign.unseal(visit.shop.store.key, "known", sealed) or "") if sealed else ""
