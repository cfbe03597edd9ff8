"""How long each call to a host or an edge may take; from that tenants/operations/steps.py says how long a
step may.

The times of single calls stand in the table of an agent's methods too (workers/agents/host/methods.py),
which this room cannot see; a test holds both together. How often an error is worth another try is in
workers/flows/running/run.py.
"""

ACCEPT_SECONDS = 13.0  # until a call is on its way: a free slot at the host, and its agent's word
SPARE_SECONDS = 10.0  # what a host may need beside the time that was asked for
START_SECONDS = 20.0 + SPARE_SECONDS  # a container until it answers on its host
STOP_SECONDS = 10.0 + SPARE_SECONDS  # a container that is given its grace
FETCH_SECONDS = 600.0  # a host that gets an image
VOLUME_SECONDS = 1800.0  # a host that copies a volume off, or loads a copy
EDGE_SECONDS = 3.0
ROUTE_SECONDS = 2 * EDGE_SECONDS  # an edge's answer, and then its report
QUIET_SECONDS = 10.0 + EDGE_SECONDS  # requests in flight that are waited for
TURN_SECONDS = 60.0  # other swaps of the same host
CHECK_SECONDS = 10.0  # each edge's look at a shop
MOST_COPIES = 4  # of a volume, while a move's shop still runs
