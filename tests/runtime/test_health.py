"""A start that fails for its port says on what the program does listen."""

import pytest

from runtime.errors import ExitedError, UnhealthyError
from runtime.specs import Fence
from tests.runtime.hosts import Host

pytestmark = pytest.mark.root

START = Fence(1, 1)


@pytest.mark.parametrize(
    ("port", "health_path", "said"),
    [
        ("127.0.0.1:8000", "", "it listens on 127.0.0.1:8000 only"),
        ("9999", "", "it listens on port 9999 only"),
        ("127.0.0.1:9999", "/healthz", "it listens on 127.0.0.1:9999 only"),
    ],
)
def test_a_program_that_listens_elsewhere_is_told_where(
    host: Host, port: str, health_path: str, said: str
) -> None:
    host.start_keeper()
    spec = host.spec(
        env=(("MODE", "elsewhere"), ("ELSEWHERE", port)),
        health_path=health_path,
        health_timeout_seconds=1.5,
    )
    with pytest.raises(UnhealthyError, match=said):
        host.driver().ensure_running(spec, fence=START)


def test_a_program_that_ends_at_once_is_told_so_and_never_asked_of_strangers(host: Host) -> None:
    host.start_keeper()
    with pytest.raises(ExitedError, match="exit code 3"):
        host.driver().ensure_running(host.spec(mode="ends"), fence=START)
