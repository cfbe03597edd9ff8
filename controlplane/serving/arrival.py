"""Says when the bytes that came on a connection are a whole request, without parsing what it asks.

Small bodies are waited for, so that a slow sender holds no thread. A body that is announced as
larger than that is left to the application, which refuses it or reads it by its own rules.
"""

import re
from enum import Enum

# At least what an edge lets through (runtime/edge/limits.py), with the lines it adds.
MOST_HEAD_BYTES = 44 * 1024
SMALL_BODY_BYTES = 64 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[ \t]*\r\n", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_MOST_SIZE_LINE = 300


class ArrivalState(Enum):
    """How far a request has come."""

    HEAD = "its head is on the way"
    BODY = "its body is on the way"
    WHOLE = "it can be served"
    TOO_LARGE = "its head is larger than it may be"


class Arrival:
    """The bytes of one request as they come."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.state = ArrivalState.HEAD
        self.wants_continue = False
        self._searched = 0  # where a whole head was looked for already
        self._ends = 0  # with the body, where its length is known
        self._chunk = 0  # where the next chunk's size will stand, where it is not

    def feed(self, piece: bytes) -> ArrivalState:
        """Take more bytes."""
        self.data += piece
        if self.state is ArrivalState.HEAD:
            self._look_for_head()
        if self.state is ArrivalState.BODY and self._is_body_whole():
            self.state = ArrivalState.WHOLE
        return self.state

    def _look_for_head(self) -> None:
        end = self.data.find(b"\r\n\r\n", max(0, self._searched - 3))
        self._searched = len(self.data)
        if end < 0 or end > MOST_HEAD_BYTES:
            if len(self.data) > MOST_HEAD_BYTES:
                self.state = ArrivalState.TOO_LARGE
            return
        head = bytes(self.data[: end + 2])
        if _CONTINUE.search(head):
            self.wants_continue = True
            shorter = _CONTINUE.sub(b"", head)  # it is answered here, once
            self.data[: end + 2] = shorter
            end += len(shorter) - len(head)
        length = _LENGTH.search(head)
        if _CHUNKED.search(head):
            self._chunk, self.state = end + 4, ArrivalState.BODY
        elif length and 0 < int(length[1]) <= SMALL_BODY_BYTES:
            self._ends, self.state = end + 4 + int(length[1]), ArrivalState.BODY
        else:
            self.state = ArrivalState.WHOLE
            self.wants_continue = False

    def _is_body_whole(self) -> bool:
        if self._ends:
            return len(self.data) >= self._ends
        # More than an application reads, or no chunks at all: it finds out itself.
        if len(self.data) > MOST_HEAD_BYTES + SMALL_BODY_BYTES:
            return True
        while size := _SIZE.match(self.data, self._chunk):
            length = int(size[1], 16)
            if length == 0:
                rest = size.end()
                return self.data.startswith(b"\r\n", rest) or b"\r\n\r\n" in self.data[rest:]
            self._chunk = size.end() + length + 2
        return len(self.data) > self._chunk + _MOST_SIZE_LINE
