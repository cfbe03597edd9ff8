"""What an edge fetches when it boots or has lost step: its own row, and the whole route table."""

import hashlib
import json
from collections.abc import Iterator

from django.db import connection, transaction

from tenants.pool.models import Edge

# One statement, so one moment: routes that are open, and the highest number ever given to a change
# (a withdrawal counts). "C" sorts as Python does, and the digest depends on the order.
_TABLE = """
SELECT * FROM (
    SELECT hostname, value, sequence FROM tenants_route WHERE value <> ''
    UNION ALL
    SELECT '~', '', COALESCE(MAX(sequence), 0) FROM tenants_route
) AS routes
ORDER BY hostname COLLATE "C"
"""
_AT_ONCE = 5000


def named(name: str) -> Edge | None:
    """Return the edge of that name."""
    return Edge.objects.filter(name=name).first()


def route_table() -> Iterator[bytes]:
    """`{"routes": [[hostname, value, sequence], …], "digest": …, "sequence": …}` in pieces.

    Read through a cursor on the server, because 200,000 rows need not be in memory at once.
    digest: SHA-256 of the lines `hostname value sequence`, sorted by hostname.
    """
    digest = hashlib.sha256()
    sequence, separator = 0, b""
    yield b'{"routes":['
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(_TABLE)
        while rows := cursor.fetchmany(_AT_ONCE):
            if rows[-1][0] == "~":  # sorts after every hostname
                sequence = rows.pop()[2]
            if rows:
                lines = "\n".join(f"{host} {value} {number}" for host, value, number in rows)
                digest.update((b"\n" if separator else b"") + lines.encode())
                yield separator + json.dumps(rows, separators=(",", ":"))[1:-1].encode()
                separator = b","
    yield f'],"digest":"{digest.hexdigest()}","sequence":{sequence}}}'.encode()
