"""Gives every host and edge its own user on the broker, from the hashes in the record.

A Redis that restarted knows none of them, and one that was taken out of the record must lose its
rights. So the users are compared every few seconds, which costs one round trip.
"""

from tenants.pool.models import Edge, Host
from workers.broker import queues
from workers.broker.commands import broker
from workers.leases.periodic import once

# What was last set, by user: rights that did not change are not set again.
_set: dict[str, str] = {}


@once("apply_broker_users")
def apply_broker_users() -> str:
    """Make the broker's users those of the record; tells how many were set and taken away."""
    wanted = {queues.host_queue(name): digest for name, digest in _secrets_of(Host)}
    wanted |= {queues.edge_queue(name): digest for name, digest in _secrets_of(Edge)}
    client = broker()
    present = {user.decode() for user in client.execute_command("ACL", "USERS")}  # type: ignore[no-untyped-call]
    changed = [
        user for user, digest in wanted.items() if user not in present or _set.get(user) != digest
    ]
    for user in changed:
        rules = queues.broker_acl(user, wanted[user])
        client.execute_command("ACL", "SETUSER", user, *rules)  # type: ignore[no-untyped-call]
        _set[user] = wanted[user]
    gone = [user for user in present - wanted.keys() if user.startswith(("host.", "edge."))]
    if gone:
        client.execute_command("ACL", "DELUSER", *gone)  # type: ignore[no-untyped-call]
    return f"{len(changed)} set, {len(gone)} taken away" if changed or gone else ""


def _secrets_of(model: type[Host] | type[Edge]) -> list[tuple[str, str]]:
    return list(model.objects.values_list("name", "broker_secret_sha256"))
