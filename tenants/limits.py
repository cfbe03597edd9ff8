"""How long each call to a host or an edge may take, and from that how long an operation may.

Whoever opens, repeats or ends an operation takes its times from here. Those of single calls stand in
the table of an agent's methods (workers/agent/host_methods.py), which this room cannot see; a test holds both
together. A deadline is no patience: it only ends what nobody works on any more, so it is never shorter
than the calls that the verb may have to wait for. How often and how long an error is worth another try is
in workers/flows/run.py.
"""

from datetime import timedelta

from django.conf import settings

from tenants.states import Verb

ACCEPT_SECONDS = 13.0  # until a call is on its way: a free slot at the host, and its agent's word
SPARE_SECONDS = 10.0  # what a host may need beside the time that was asked for
START_SECONDS = 20.0 + SPARE_SECONDS  # a container until it answers on its host
STOP_SECONDS = 10.0 + SPARE_SECONDS  # a container that is given its grace
FETCH_SECONDS = 600.0  # a host that gets an image
VOLUME_SECONDS = 1800.0  # a host that copies a volume off, or loads a copy
EDGE_SECONDS = 3.0
ROUTE_SECONDS = 2 * EDGE_SECONDS  # edges that get a route, and get it again
QUIET_SECONDS = 10.0 + EDGE_SECONDS  # requests in flight that are waited for
TURN_SECONDS = 60.0  # other swaps of the same host
CHECK_SECONDS = 10.0  # each edge's look at a shop
MOST_COPIES = 4  # of a volume, while a move's shop still runs

_SAVE = _LOAD = VOLUME_SECONDS + ACCEPT_SECONDS
_START, _STOP = START_SECONDS + ACCEPT_SECONDS, STOP_SECONDS + ACCEPT_SECONDS
_FETCH = FETCH_SECONDS + ACCEPT_SECONDS

# The longest that each step of a verb may take when all goes well, one call after another.
LONGEST_SECONDS: dict[str, dict[str, float]] = {
    Verb.PROVISION: {"place": 0, "start": _START, "route": ROUTE_SECONDS, "check": CHECK_SECONDS},
    Verb.REPAIR: {"place": 0, "start": _START, "route": ROUTE_SECONDS, "check": CHECK_SECONDS},
    Verb.REMOVE: {"unroute": ROUTE_SECONDS, "stop": 2 * _STOP, "clean": 0},
    Verb.RECOVER: {
        "place": _STOP,
        "load": _LOAD,
        "start": _START,
        "route": ROUTE_SECONDS,
        "check": CHECK_SECONDS,
    },
    Verb.MOVE: {
        "place": 0,
        "copy": _FETCH + MOST_COPIES * (_SAVE + _LOAD),
        "hold": TURN_SECONDS + ROUTE_SECONDS + QUIET_SECONDS,
        "carry": _STOP + _SAVE + _LOAD,
        "resume": _START,
        "open": ROUTE_SECONDS + CHECK_SECONDS,
        "clear": QUIET_SECONDS + _STOP,
    },
    # The way back is part of it: the newer data is loaded again, and the shop started on it.
    Verb.RESTORE: {
        "safeguard": _SAVE,
        "hold": TURN_SECONDS + ROUTE_SECONDS + QUIET_SECONDS,
        "restore": _STOP + _SAVE + _LOAD,
        "resume": _START + _STOP + 2 * _LOAD + _START,
        "check": ROUTE_SECONDS + CHECK_SECONDS,
    },
}


def deadline_of(verb: str) -> timedelta:
    """Return how long an operation may take from when it is asked for, or tried again.

    Its longest calls, and OPERATION_DEADLINE_SECONDS beside for waiting hands and repeats.
    """
    calls = sum(LONGEST_SECONDS[verb].values())
    return timedelta(seconds=settings.OPERATION_DEADLINE_SECONDS + calls)
