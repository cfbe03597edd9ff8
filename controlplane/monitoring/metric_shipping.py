"""Each process of the control plane adds what it has counted to the sums of /metrics, beside its work."""

import atexit
import logging
import threading
import time
from contextlib import suppress

from django.db import DatabaseError, connection

from tenants.core import metric_sums

# Scrapes come every 15 or 30 seconds: what is seen is hardly older by this.
PERIOD_SECONDS = 5.0

log = logging.getLogger(__name__)


def begin_shipping() -> None:
    """Have this process add what it counts to the sums, as long as it lives."""
    threading.Thread(target=_ship, name="metrics", daemon=True).start()
    atexit.register(_ship_the_rest)


def _ship() -> None:
    while True:
        time.sleep(PERIOD_SECONDS)
        try:
            metric_sums.ship()
        except DatabaseError as error:
            log.debug("what was counted is kept until the database is back: %s", error)
        except Exception:
            log.exception("what was counted could not be added")


def _ship_the_rest() -> None:
    with suppress(DatabaseError):
        metric_sums.ship()
    connection.close()
