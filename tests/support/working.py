"""One worker, one operation, once."""

from tenants.operations import leases
from workers.flows.clients import Clients
from workers.flows.running import run


def work(operation_pk: int, clients: Clients) -> str:
    """Work on this operation alone if it is free and due; gives a word for what came of it."""
    owner = run.new_owner()
    lease = leases.claim(operation_pk, owner=owner)
    return "not ours" if lease is None else run.under(lease, clients, owner)
