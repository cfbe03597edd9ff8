"""A shop, and a place for its copies."""

from pathlib import Path

import pytest
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from tenants.shops.models import Tenant
from tenants.snapshots.models import SnapshotSchedule
from tenants.states import (
    TenantState,
)
from tests.factories import make_shop


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Path:
    """The directory that copies go to."""
    settings.STOA_SNAPSHOTS = str(tmp_path)
    return tmp_path


@pytest.fixture
def tenant(db: None) -> Tenant:
    """A live shop whose copies are due."""
    tenant = make_shop("acme").tenant
    Tenant.objects.filter(pk=tenant.pk).update(state=TenantState.LIVE)
    SnapshotSchedule.objects.create(tenant=tenant, due_at=Now())
    return tenant
