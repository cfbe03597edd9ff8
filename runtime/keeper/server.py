"""The keeper's unix socket: one JSON object a line, asked and answered.

Asked: {"op": "start", "id": …, "keep_layers": false} | {"op": "stop", "id": …, "grace": 10.0} |
{"op": "confirm" | "forget", "id": …} | {"op": "status"[, "id": …]} |
{"op": "freeze", "id": …, "seconds": …} | {"op": "thaw", "id": …} |
{"op": "down", "grace": …} | {"op": "upgrade", "settings": …} | {"op": "ping"}.
Answered: {"ok": true, …} or {"ok": false, "code": …, "message": …}. After a start the connection gets
one more line when the container ends: {"ok": true, "ended": id, "exit_code": n}.
"""

import contextlib
import json
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.errors import InputError, RuntimeCoreError
from runtime.keeper.keeper import Keeper
from runtime.keeper.loop import Loop
from runtime.keeper.renewing.handover import packed, unpacked
from runtime.keeper.supervised import Listener
from runtime.keeper.watching.freezing import Freezing
from runtime.system.files import remove_anything
from runtime.wire import parsed

_LINE_LIMIT = 64 * 1024
Message = dict[str, object]


class KeeperConnection(Listener):
    """One client; answers wait in memory until it takes them."""

    def __init__(
        self, loop: Loop, peer: socket.socket, ask: Callable[..., None], gone: Callable[..., None]
    ) -> None:
        self._loop = loop
        self._peer = peer
        self._ask = ask
        self._gone = gone
        self._received = b""
        self._unsent = b""
        self._closed = False
        loop.watch(peer.fileno(), self._ready)

    def handed(self) -> dict[str, object]:
        """Return what new code needs to go on with this client."""
        received, unsent = packed(self._received), packed(self._unsent)
        return {"fd": self._peer.fileno(), "received": received, "unsent": unsent}

    def go_on(self, handed: dict[str, Any]) -> None:
        """Take up what other code had received and not yet sent."""
        self._received, self._unsent = unpacked(handed["received"]), unpacked(handed["unsent"])
        self._send()

    def tell(self, message: Message) -> None:
        """Send one line; nothing happens when the client has gone."""
        if not self._closed:
            self._unsent += json.dumps(message, separators=(",", ":")).encode() + b"\n"
            self._send()

    def _ready(self) -> None:
        if self._unsent:
            self._send()
        try:
            piece = self._peer.recv(_LINE_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece or len(self._received) > _LINE_LIMIT:
            self._close()
            return
        *lines, self._received = (self._received + piece).split(b"\n")
        for line in lines:
            self._ask(line, self)

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._peer.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._loop.watch(self._peer.fileno(), self._ready, events=wanted)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.forget(self._peer.fileno())
            self._peer.close()
            self._gone(self)


class Server:
    """Listens, reads requests, and hands them to the keeper."""

    def __init__(
        self, loop: Loop, keeper: Keeper, path: Path, *, listening: socket.socket | None = None
    ) -> None:
        self._loop = loop
        self._keeper = keeper
        self._path = path
        self.connections: list[KeeperConnection] = []
        self.on_upgrade: Callable[[KeeperConnection, dict[str, str]], None] = _no_upgrade
        self.freezing: Freezing | None = None
        self._socket = listening or _listening(path)
        loop.watch(self._socket.fileno(), self._accept)

    @property
    def fd(self) -> int:
        """The listening socket's descriptor."""
        return self._socket.fileno()

    def take_over(self, ones: list[dict[str, Any]]) -> list[Listener]:
        """Go on with the clients of other code; in the same order."""
        return [self._connect(socket.socket(fileno=handed["fd"])) for handed in ones]

    def close(self) -> None:
        """Take no more clients and remove the socket."""
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            peer, _address = self._socket.accept()
            self._connect(peer)

    def _connect(self, peer: socket.socket) -> KeeperConnection:
        peer.setblocking(False)
        connection = KeeperConnection(self._loop, peer, self._ask, self.connections.remove)
        self.connections.append(connection)
        return connection

    def _ask(self, line: bytes, connection: KeeperConnection) -> None:
        try:
            request = parsed(line)
            if not isinstance(request, dict):
                raise InputError("a request must be a JSON object")
            answer = self._answer(request, connection)
        except RuntimeCoreError as error:
            answer = {"ok": False, "code": error.code, "message": error.message}
        except (ValueError, KeyError, TypeError) as error:
            answer = {"ok": False, "code": "input", "message": f"request not understood: {error!r}"}
        except OSError as error:
            answer = {"ok": False, "code": "host", "message": str(error)}
        if answer is not None:
            connection.tell(answer)

    def _answer(self, request: dict[str, Any], connection: KeeperConnection) -> Message | None:
        keeper, answer = self._keeper, Message({"ok": True})
        match request["op"]:
            case "start":
                keeper.start(request["id"], connection, keep_layers=bool(request["keep_layers"]))
                return None
            case "stop":
                keeper.stop(request["id"], connection, grace_seconds=float(request["grace"]))
                return None
            case "down":
                keeper.stop_all(connection, grace_seconds=float(request["grace"]))
                return None
            case "upgrade":
                settings = request.get("settings", {})
                self.on_upgrade(connection, {str(key): str(settings[key]) for key in settings})
                return None
            case "confirm":
                keeper.confirm(request["id"])
            case "forget":
                keeper.forget(request["id"])
            case "freeze" | "thaw":
                return self._hold_still(request, connection)
            case "status":
                answer["instances"] = keeper.status(request.get("id"))
            case "ping":
                answer["pid"] = os.getpid()
            case unknown:
                raise InputError(
                    f"op is {unknown!r}; see runtime/keeper/server.py for what there is"
                )
        return answer

    def _hold_still(self, request: dict[str, Any], connection: KeeperConnection) -> Message | None:
        if self.freezing is None:
            raise InputError("this keeper cannot freeze")
        if request["op"] == "thaw":
            return {"ok": True, "held": self.freezing.thaw(request["id"])}
        self.freezing.freeze(request["id"], connection, seconds=float(request["seconds"]))
        return None


def _no_upgrade(_connection: KeeperConnection, _settings: dict[str, str]) -> None:
    raise InputError("this keeper cannot be upgraded in place")


def _listening(path: Path) -> socket.socket:
    """Return a listening socket only root can reach; takes the place of one a dead keeper left."""
    remove_anything(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    listening.listen(128)
    listening.setblocking(False)
    return listening
