"""What an edge reads from its environment."""

from pathlib import Path

import pytest

from runtime.edge import pages
from runtime.edge.config import edge_config
from runtime.errors import SpecInvalidError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STOA_HTTP_PORT", "http"),
        ("STOA_PORT_BASE", "0"),
        ("STOA_PUBLIC_SCHEME", "gopher"),
        ("STOA_SUBNET", "100.96.0.0/99"),
        ("STOA_PORTS", "many"),
        ("STOA_EDGE_STATE", "relative/path"),
        ("STOA_EDGE_STATE", "/with space"),
        ("STOA_EDGE_STATE", "/" + "x" * 100),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SpecInvalidError, match=name):
        edge_config({name: value}, descriptors=20000)


def test_defaults_are_those_of_one_machine() -> None:
    config = edge_config({}, descriptors=20000)
    assert (config.http_port, config.web_address) == (8080, "127.0.0.1:18802")
    assert config.events_address == "127.0.0.1:18803"
    assert (config.hold_port, config.health_port) == (18804, 18805)
    assert config.console_url == "http://localhost:8080/"


@pytest.mark.parametrize("descriptors", [1024, 4096, 20000, 1_000_000])
def test_connections_fit_the_descriptors_there_are(descriptors: int) -> None:
    config = edge_config({}, descriptors=descriptors)
    assert config.maxconn * 2 + config.held_total + 100 < descriptors
    assert config.maxconn <= 8000


def test_behind_a_tls_proxy_its_port_is_shown_and_not_the_inner_one() -> None:
    environ = {"STOA_PUBLIC_SCHEME": "https", "STOA_PUBLIC_PORT": "443"}
    assert edge_config(environ, descriptors=20000).console_url == "https://localhost/"
    environ["STOA_PUBLIC_PORT"] = "8443"
    assert edge_config(environ, descriptors=20000).console_url == "https://localhost:8443/"


def test_every_page_fits_into_a_buffer_and_speaks_both_languages() -> None:
    files = pages.files(edge_config({}, descriptors=20000))
    for name, content in files.items():
        assert len(content) < 16_000, name
        if not name.endswith("-json.http"):
            assert b'lang="ja"' in content, name
    head = files["shop-starting.http"].split(b"\r\n\r\n")[0]
    assert b"503" in head
    assert b"Retry-After: 5" in head


def test_the_hold_script_lies_beside_the_code() -> None:
    from runtime.edge.haproxy_cfg import HOLD_LUA

    assert Path(HOLD_LUA).is_file()
