"""A shop whose data is missing, as its merchant and operators see it and choose for it."""

from collections.abc import Callable

import pytest
from django.test import Client

from tenants.accounts.models import Member
from tenants.operations.models import Operation
from tenants.shops.models import Instance
from tenants.snapshots.models import Snapshot
from tenants.states import Verb
from tenants.transfers import missing_data
from tests.pages.conftest import Cast
from tests.pages.test_snapshots import kept as kept_fixture

Browser = Callable[[Member | None], Client]
kept = kept_fixture


@pytest.fixture
def lost(kept: Snapshot) -> Snapshot:
    missing_data.say(
        Instance.objects.get(tenant=kept.tenant), reason="volume x: /srv/x is not there"
    )
    return kept


def test_a_merchant_is_told_calmly_and_chooses(page: Browser, cast: Cast, lost: Snapshot) -> None:
    client = page(cast.alice)
    body = client.get("/shops/acme/").content.decode()
    assert "was not found" in body
    assert "/srv/x" not in body
    assert "Visit your shop" not in body
    assert "Running" not in body
    assert "Data missing" in body
    assert "Data missing" in client.get("/shops/").content.decode()
    body = client.get("/shops/acme/data/").content.decode()
    assert lost.public_id in body
    japanese = client.get("/shops/acme/data/", headers={"Accept-Language": "ja"}).content.decode()
    assert "どこから再開しますか" in japanese
    refused = client.post("/shops/acme/data/", {"choice": "empty", "typed": "other"})
    assert refused.status_code == 400
    assert "to begin empty" in refused.content.decode()
    assert not Operation.objects.filter(verb=Verb.RECOVER).exists()
    client.post("/shops/acme/data/", {"choice": "copy", "snapshot": lost.public_id})
    operation = Operation.objects.get(verb=Verb.RECOVER)
    assert operation.arguments["snapshot"] == lost.public_id
    assert client.get("/shops/acme/data/").status_code == 302  # something is being done


def test_an_operator_sees_what_the_host_said(page: Browser, cast: Cast, lost: Snapshot) -> None:
    client = page(cast.olga)
    place = f"/operator/tenants/{lost.tenant.public_id}/"
    body = client.get(place).content.decode()
    assert "/srv/x is not there" in body
    assert "Data missing" in body
    assert "Begin empty" in client.get(f"{place}data/").content.decode()
    answer = client.post(f"{place}data/", {"choice": "empty", "typed": "acme"})
    assert answer.status_code == 302
    assert Operation.objects.get(verb=Verb.RECOVER).arguments == {"choice": "empty"}


def test_anothers_shop_is_not_there(page: Browser, cast: Cast, lost: Snapshot) -> None:
    assert page(cast.bob).get("/shops/acme/data/").status_code == 404
    assert page(cast.alice).get(f"/operator/tenants/{lost.tenant.public_id}/data/").status_code in (
        302,
        403,
        404,
    )
