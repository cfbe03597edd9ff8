"""What HAProxy's configuration must say whatever else it says."""

import os
from pathlib import Path

import pytest

from runtime.edge.haproxy_cfg import render
from runtime.errors import SpecInvalidError
from tests.runtime.edge.conftest import Front, make_config


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's HAProxy can become somebody else")
def test_what_talks_to_strangers_is_not_root_and_serves_on_after_a_reload(front: Front) -> None:
    front.reload()
    assert front.get("nobody.localhost").status == 404
    process = front.process
    assert process is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    assert all(Path(f"/proc/{pid}").stat().st_uid != 0 for pid in children)


def test_without_a_user_haproxy_stays_who_started_it(tmp_path: Path) -> None:
    assert "\n    user " not in render(make_config(tmp_path, STOA_EDGE_USER=""))


def test_a_user_that_could_be_more_than_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalidError, match="STOA_EDGE_USER"):
        make_config(tmp_path, STOA_EDGE_USER="root\n    chroot /")
