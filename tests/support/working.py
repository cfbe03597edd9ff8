"""One worker, one operation, once."""

from tenants.services import leases
from workers.flows import run
from workers.flows.hands import Hands


def work(operation_pk: int, hands: Hands) -> str:
    """Work on this operation alone if it is free and due; gives a word for what came of it."""
    owner = run.new_owner()
    lease = leases.claim(operation_pk, owner=owner)
    return "not ours" if lease is None else run.under(lease, hands, owner)
