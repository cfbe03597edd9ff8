"""What can be bought, as the pages show it."""

from tenants.catalogue.models import Plan


def public_plans() -> list[Plan]:
    """Return the plans anybody may choose, in their order."""
    return list(Plan.objects.filter(is_public=True))
