"""A shop whose data is missing, over the API: seen, and chosen for; another's is not there."""

import pytest

from tenants.accounts.models import Member
from tenants.operations.models import Operation
from tenants.shops.models import Instance, Tenant
from tenants.snapshots.models import Snapshot
from tenants.states import Verb
from tenants.transfers import missing_data
from tests.tenants.api.conftest import Program
from tests.tenants.api.test_snapshots import kept as kept_fixture

kept = kept_fixture


@pytest.fixture
def lost(kept: Snapshot) -> Snapshot:
    missing_data.say(
        Instance.objects.get(tenant=kept.tenant), reason="volume x: /srv/x is not there"
    )
    return kept


def test_a_shop_whose_data_is_missing_says_so_and_what_may_be_chosen(
    alices: Program, lost: Snapshot
) -> None:
    body = alices.get("/api/v1/tenants/acme").json()
    assert (body["state"], bool(body["data_missing_since"])) == ("live", True)
    found = alices.get("/api/v1/tenants/acme/data").json()
    assert found["is_missing"]
    assert found["choices"] == ["wait", "newest", "copy", "empty"]
    assert [one["id"] for one in found["copies"]] == [lost.public_id]
    assert found["reason"] == ""  # where it lay is an operator's business


@pytest.mark.parametrize(
    ("sent", "status", "field"),
    [
        ({"choice": "maybe"}, 400, "choice"),
        ({"choice": "copy", "snapshot": "snp_none"}, 400, "snapshot"),
        ({"choice": "empty"}, 400, "confirm"),
        ({"choice": ["wait"]}, 400, "choice"),
    ],
)
def test_a_choice_that_says_too_little_is_refused_in_words(
    alices: Program, lost: Snapshot, sent: dict[str, object], status: int, field: str
) -> None:
    answer = alices.post("/api/v1/tenants/acme/data", sent)
    assert answer.status_code == status
    assert field in answer.content.decode()
    assert not Operation.objects.filter(verb=Verb.RECOVER).exists()


def test_each_choice_is_an_operation(alices: Program, lost: Snapshot) -> None:
    for sent, verb in (
        ({"choice": "wait"}, Verb.REPAIR),
        ({"choice": "newest"}, Verb.RECOVER),
        ({"choice": "copy", "snapshot": lost.public_id}, Verb.RECOVER),
        ({"choice": "empty", "confirm": "acme"}, Verb.RECOVER),
    ):
        answer = alices.post("/api/v1/tenants/acme/data", sent)
        assert answer.status_code == 202, answer.content
        assert Operation.objects.latest("pk").verb == verb
        Operation.objects.update(state="succeeded")


def test_going_back_to_a_copy_is_the_same_choice_where_the_data_is_missing(
    alices: Program, lost: Snapshot
) -> None:
    answer = alices.post("/api/v1/tenants/acme/restore", {"snapshot": lost.public_id})
    assert answer.status_code == 202
    operation = Operation.objects.latest("pk")
    assert (operation.verb, operation.arguments["choice"]) == (Verb.RECOVER, "copy")


def test_nothing_is_chosen_for_a_shop_that_has_its_data(alices: Program, kept: Snapshot) -> None:
    assert alices.get("/api/v1/tenants/acme/data").json()["is_missing"] is False
    answer = alices.post("/api/v1/tenants/acme/data", {"choice": "newest"})
    assert answer.status_code == 409


def test_anothers_shop_is_not_there(bobs: Program, lost: Snapshot) -> None:
    assert bobs.get("/api/v1/tenants/acme/data").status_code == 404
    assert bobs.post("/api/v1/tenants/acme/data", {"choice": "newest"}).status_code == 404
    assert Tenant.objects.get(slug="acme").operations.filter(verb=Verb.RECOVER).count() == 0
    assert Member.objects.exists()
