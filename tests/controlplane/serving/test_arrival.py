"""When the bytes of a connection are a whole request."""

import pytest

from controlplane.serving.arrival import MOST_HEAD_BYTES, SMALL_BODY_BYTES, Arrival, ArrivalState

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "is_whole_before_the_end"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (HEAD + b"Content-Length: 5\r\n\r\nhello", False),
        (HEAD + b"content-length:5\r\n\r\nhello", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", False),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\n0\r\n\r\n\r\n0\r\nX: y\r\n\r\n",
            False,
        ),
        (HEAD + b"Content-Length: 70000\r\n\r\n" + b"x" * 10, True),  # left to the application
    ],
)
def test_byte_by_byte_a_request_is_whole_with_its_last_byte_and_no_sooner(
    request_bytes: bytes, is_whole_before_the_end: bool
) -> None:
    arrival = Arrival()
    states = [arrival.feed(request_bytes[at : at + 1]) for at in range(len(request_bytes))]
    assert states[-1] is ArrivalState.WHOLE
    assert (ArrivalState.WHOLE in states[:-1]) == is_whole_before_the_end
    assert arrival.data == request_bytes


def test_a_head_without_an_end_is_too_large_at_its_ceiling() -> None:
    arrival = Arrival()
    assert arrival.feed(b"GET / HTTP/1.1\r\nX: " + b"y" * 1000) is ArrivalState.HEAD
    assert arrival.feed(b"y" * MOST_HEAD_BYTES) is ArrivalState.TOO_LARGE


def test_chunks_beyond_what_is_read_are_left_to_the_application() -> None:
    arrival = Arrival()
    arrival.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    states = {arrival.feed(b"400\r\n" + b"x" * 1024 + b"\r\n") for _ in range(20)}
    assert states == {ArrivalState.BODY}
    for _ in range((MOST_HEAD_BYTES + SMALL_BODY_BYTES) // 1024):
        arrival.feed(b"400\r\n" + b"x" * 1024 + b"\r\n")
    assert arrival.state is ArrivalState.WHOLE


def test_nonsense_instead_of_a_chunk_is_not_waited_for() -> None:
    arrival = Arrival()
    assert (
        arrival.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"z" * 500)
        is ArrivalState.WHOLE
    )


def test_who_asks_whether_to_go_on_is_told_once_and_the_question_goes_no_further() -> None:
    arrival = Arrival()
    arrival.feed(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert arrival.state is ArrivalState.BODY
    assert arrival.wants_continue
    assert arrival.feed(b"ok") is ArrivalState.WHOLE
    assert arrival.data == HEAD + b"Content-Length: 2\r\n\r\nok"
