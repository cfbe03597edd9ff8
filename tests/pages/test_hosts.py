"""The operator's pages of hosts: what can be done stands there, and a loss is asked about first."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from controlplane.secrets import pool_ca
from tenants.pool.models import Host, HostReport, JoinToken
from tenants.states import HostHealth
from tests.pages.conftest import Cast

Page = Callable[..., Client]
HOST = "/operator/hosts/local/"


@pytest.fixture
def olga(cast: Cast, page: Page) -> Client:
    return page(cast.olga)


@pytest.fixture
def reachable(settings: Settings, tmp_path: Path) -> None:
    """A control plane that other machines reach."""
    pool_ca.ensure(tmp_path, {}, [], now=datetime.now(UTC))
    settings.STOA_CONTROL_CA = tmp_path / "pool-ca.crt"
    settings.STOA_POOL_ADDRESS, settings.STOA_DEPOT_PORT = "10.0.0.1", 18806


@pytest.mark.parametrize(
    "path",
    [
        HOST + "cordon/",
        HOST + "uncordon/",
        HOST + "edit/",
        HOST + "remove/",
        HOST + "lost/",
        HOST + "forget/",
        "/operator/join-tokens/",
        "/operator/join-tokens/abc/revoke/",
    ],
)
def test_they_are_not_there_for_others(cast: Cast, page: Page, path: str) -> None:
    assert page(cast.alice).post(path, {"confirm": "local"}).status_code in {404, 405}
    assert page(None).post(path, {"confirm": "local"}).status_code in {302, 405}
    assert Host.objects.get().state == "open"
    assert not JoinToken.objects.exists()


def test_a_host_is_cordoned_and_opened_by_its_buttons(olga: Client) -> None:
    said = olga.post(HOST + "cordon/", follow=True).content.decode()
    assert "local gets no new shops; what runs there goes on." in said
    assert HOST + "uncordon/" in said
    olga.post(HOST + "uncordon/")
    assert Host.objects.get().state == "open"


def test_labels_zone_and_reserve_are_edited_together(olga: Client) -> None:
    form = {
        "zone": "tokyo-1",
        "engine": "crun",
        "labels": "rack=b4\n\ndisk = ssd",
        "reserve_cores": "0.5",
        "reserve_memory_mib": "512",
        "reserve_disk_gib": "2",
    }
    said = olga.post(HOST + "edit/", form, follow=True).content.decode()
    assert "rack=b4" in said
    host = Host.objects.get()
    assert (host.zone, host.labels) == ("tokyo-1", {"rack": "b4", "disk": "ssd"})
    assert (host.reserve_cpu_millis, host.reserve_memory_bytes) == (500, 512 * 1024**2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"zone": "No Zone"}, "it must be 1 to 32"),
        ({"labels": "rack"}, "must be key=value"),
        ({"reserve_cores": "9"}, "reserve must be 0 or more and less than capacity"),
    ],
)
def test_a_wrong_form_comes_back_with_the_reason(
    olga: Client, change: dict[str, str], words: str
) -> None:
    form = {
        "zone": "z",
        "engine": "crun",
        "labels": "",
        "reserve_cores": "0",
        "reserve_memory_mib": "0",
        "reserve_disk_gib": "0",
    }
    answer = olga.post(HOST + "edit/", form | change)
    assert (answer.status_code, words in answer.content.decode()) == (400, True)
    assert Host.objects.get().zone == "default"


def test_a_host_is_taken_out_only_with_its_name_typed(olga: Client) -> None:
    assert "Type local to confirm" in olga.get(HOST + "remove/").content.decode()
    assert olga.post(HOST + "remove/", {"confirm": "yes"}).status_code == 400
    assert Host.objects.exists()
    said = olga.post(HOST + "remove/", {"confirm": "local"}, follow=True).content.decode()
    assert "local is out of the pool." in said
    assert "Add your first host" in said
    assert olga.get(HOST).status_code == 404


def test_a_silent_host_can_be_forgotten_and_one_that_reports_cannot(olga: Client) -> None:
    refused = olga.post(HOST + "forget/", {"confirm": "local"})
    assert (refused.status_code, "it is not lost" in refused.content.decode()) == (400, True)
    HostReport.objects.all().delete()
    assert HOST + "forget/" in olga.get(HOST).content.decode()
    olga.post(HOST + "forget/", {"confirm": "local"})
    assert not Host.objects.exists()


def test_a_host_that_does_not_answer_can_be_declared_lost(olga: Client) -> None:
    assert olga.post(HOST + "lost/", {"confirm": "local"}).status_code == 400
    Host.objects.update(health=HostHealth.UNREACHABLE)
    said = olga.post(HOST + "lost/", {"confirm": "local"}, follow=True).content.decode()
    assert "its shops come back elsewhere" in said
    assert Host.objects.get().health == HostHealth.LOST


def test_a_join_command_is_shown_once(olga: Client, reachable: None) -> None:
    form = {"zone": "default", "labels": "rack=b4", "hours": "24"}
    said = olga.post("/operator/join-tokens/", form).content.decode()
    token = JoinToken.objects.get()
    assert "bin/stoa host join https://10.0.0.1:18806 --token J1." in said
    assert token.key_id in said
    again = olga.get("/operator/join-tokens/").content.decode()
    assert token.key_id in again
    assert "--token" not in again
    olga.post(f"/operator/join-tokens/{token.key_id}/revoke/")
    assert JoinToken.objects.get().revoked_at


def test_without_an_address_the_page_says_what_to_set(olga: Client) -> None:
    said = olga.get("/operator/join-tokens/").content.decode()
    assert "STOA_POOL_ADDRESS" in said
    assert '<form method="post" class="stack"' not in said


def test_all_of_it_is_there_in_japanese(olga: Client, cast: Cast, reachable: None) -> None:
    cast.olga.language = "ja"
    cast.olga.save()
    olga.cookies["stoa-language"] = "ja"
    pages = {
        HOST: ("新規受け入れを止める", "ラベル・ゾーン・予備", "外す"),
        HOST + "edit/": ("local の設定", "確保しておく CPU コア"),
        HOST + "remove/": ("local をプールから外しますか？",),
        HOST + "lost/": ("local は失われましたか？", "喪失とみなす"),
        HOST + "forget/": ("local を断念しますか？", "確認のため local と入力してください"),
        "/operator/join-tokens/": ("ホストを追加", "参加トークンを作成"),
    }
    for path, words in pages.items():
        said = olga.get(path).content.decode()
        assert [word for word in words if word not in said] == [], path
