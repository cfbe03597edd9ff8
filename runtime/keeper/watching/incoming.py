"""Whether what comes of an answer is one: a head that ends, and the body it promises.

A program that hangs in the middle of an answer has sent something; its visitors wait all the same.
"""

_HEAD_BYTES = 32 * 1024
# So much of a page is enough: what is longer, or never ends, is alive while it comes.
_BODY_BYTES = 64 * 1024
_NO_BODY = frozenset({204, 304})
_LAST_CHUNK = b"0\r\n\r\n"


class Incoming:
    """One answer of HTTP/1. What is no HTTP counts at once: somebody is there, and more is not asked."""

    def __init__(self) -> None:
        self._head = b""
        self._left: int | None = None  # of the body, None while the head has not ended
        self._is_chunked = False
        self._tail = b""

    @property
    def has_head(self) -> bool:
        """Whether the head has ended."""
        return self._left is not None

    def take(self, piece: bytes) -> bool:
        """Add what came; whether the answer counts now."""
        if self._left is not None:
            return self._take_body(piece)
        self._head += piece
        if not b"HTTP/".startswith(self._head[:5]):
            return True
        while b"\r\n\r\n" in self._head:
            head, _, rest = self._head.partition(b"\r\n\r\n")
            status = _number(head.split(b"\r\n", 1)[0].split(b" ")[1:2])
            if 100 <= status < 200 and status != 101:  # the answer itself comes after it
                self._head = rest
                continue
            self._head = b""
            self._left = self._length(head, status)
            return self._take_body(rest)
        return len(self._head) > _HEAD_BYTES

    def _take_body(self, piece: bytes) -> bool:
        self._left = max(0, (self._left or 0) - len(piece))
        if self._is_chunked:
            self._tail = (self._tail + piece)[-len(_LAST_CHUNK) :]
            return self._left == 0 or self._tail == _LAST_CHUNK
        return self._left == 0

    def _length(self, head: bytes, status: int) -> int:
        """Return how many bytes of the body are waited for."""
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        fields = {name.strip().lower(): value.strip().lower() for name, _, value in lines}
        is_endless = fields.get(b"content-type", b"").startswith(b"text/event-stream")
        if status in _NO_BODY or status == 101 or is_endless:
            return 0
        self._is_chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
        if b"content-length" in fields and not self._is_chunked:
            return min(_number([fields[b"content-length"]]), _BODY_BYTES)
        return _BODY_BYTES


def _number(words: list[bytes]) -> int:
    return int(words[0]) if words and words[0].isdigit() and len(words[0]) < 10 else 0
