"""What `/metrics` shows, read from the record: a fixed number of statements, whatever the pool's size.

What is the state of the pool is read where it stands; what processes have counted is read as the sums they
have added up (tenants/core/metric_sums.py).
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from django.db import connection
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from tenants.core.metrics import REGISTRY
from tenants.states import OPEN_OPERATION_STATES, HostHealth, HostState, Verb

# Agents report every two seconds; three misses and a bit. Programs beat every two seconds.
HEARD_SECONDS = 10
BEAT_SECONDS = 6

# The least age of each word, in seconds; the least number of changes an edge is behind for each.
AGES = (("under_10s", 0), ("under_1m", 10), ("under_5m", 60), ("under_1h", 300), ("over_1h", 3600))
LAGS = (("0", 0), ("under_10", 1), ("under_100", 10), ("100_or_more", 100))

_AGE = "extract(epoch FROM statement_timestamp() - {since})::float8"
# The states are literals: only so is the index of open operations used.
_OPERATIONS = f"""
SELECT verb, state, width_bucket({_AGE.format(since="queued_at")}, %(ages)s::float8[]), count(*),
       max({_AGE.format(since="queued_at")})
  FROM tenants_operation WHERE state IN ('pending', 'running') GROUP BY 1, 2, 3
"""  # noqa: S608
_LANE = """
SELECT '{name}', count(*), coalesce({age}, 0) FROM tenants_operation
 WHERE state = 'pending' AND is_in_line AND verb IN {verbs}
"""
_LINE = " UNION ALL ".join(
    _LANE.format(name=name, verbs=verbs, age=_AGE.format(since="min(queued_at)"))
    for name, verbs in (
        ("people", "('provision', 'restore')"),
        ("urgent", "('recover', 'repair')"),
    )
)
_HOSTS = """
SELECT state, health, count(*) FROM tenants_host WHERE state <> 'removed' GROUP BY 1, 2
"""
# An edge that was not heard says nothing of its lag. The newest change is found by its index.
_EDGES = """
WITH newest AS (SELECT coalesce(max(sequence), 0) AS sequence FROM tenants_route),
seen AS (
    SELECT CASE WHEN seen_at > statement_timestamp() - %(heard)s * interval '1 second'
                THEN CASE WHEN is_synced THEN 'ready' ELSE 'out_of_step' END
                ELSE 'silent' END AS state,
           greatest(0, newest.sequence - applied_sequence) AS lag
      FROM tenants_edge, newest
)
SELECT state, width_bucket(lag::float8, %(lags)s::float8[]), count(*), max(lag) FROM seen GROUP BY 1, 2
"""
_ROUNDS = f"""
SELECT name, {_AGE.format(since="finished_at")} FROM tenants_periodicrun
 WHERE finished_at IS NOT NULL ORDER BY name
"""  # noqa: S608
_PROGRAMS = """
SELECT program, count(*), count(*) FILTER (WHERE hears_broker) FROM tenants_programbeat
 WHERE at > statement_timestamp() - %(beat)s * interval '1 second' GROUP BY program
"""
_ALARMS = """
SELECT split_part(key, '.', 1), count(*) FROM tenants_alarm WHERE cleared_at IS NULL GROUP BY 1
"""
_SUMS = "SELECT series, bounds, sums FROM tenants_metricsum ORDER BY series"

_GIVEN: dict[str, Any] = {
    "ages": [least for _, least in AGES[1:]],
    "lags": [least for _, least in LAGS[1:]],
    "heard": HEARD_SECONDS,
    "beat": BEAT_SECONDS,
}


def families() -> Iterator[Metric]:
    """Yield all metrics of the record."""
    for read in (_operations, _line, _hosts, _edges, _rounds, _programs, _alarms, _sums):
        yield from read()


def gauge(
    name: str, documentation: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Metric:
    """Return a gauge with a value for each combination of its labels; without labels its key is ()."""
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for row, value in sorted(values.items()):
        family.add_metric(row, value)
    return family


def _rows(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, _GIVEN)
        return list(cursor.fetchall())


def _zeros(*labels: Iterable[str]) -> dict[tuple[str, ...], float]:
    """Return a zero for each combination: a series that comes and goes shows in no rate and no alert."""
    return dict.fromkeys(product(*labels), 0.0)


def _operations() -> Iterator[Metric]:
    states = [state.value for state in OPEN_OPERATION_STATES]
    count = _zeros(Verb.values, states, [word for word, _ in AGES])
    oldest = _zeros(Verb.values, states)
    for verb, state, age, number, most in _rows(_OPERATIONS):
        count[verb, state, AGES[age][0]] += number
        oldest[verb, state] = max(oldest.get((verb, state), 0.0), most)
    yield gauge(
        "stoa_operations",
        "Open operations, by how long ago they were asked for.",
        ("verb", "state", "age"),
        count,
    )
    yield gauge(
        "stoa_operation_oldest_age_seconds",
        "How long ago the oldest open operation was asked for; 0 without one.",
        ("verb", "state"),
        oldest,
    )


def _line() -> Iterator[Metric]:
    rows = _rows(_LINE)
    yield gauge(
        "stoa_line_length",
        "Operations that wait in the line of starts.",
        ("lane",),
        {(lane,): number for lane, number, _ in rows},
    )
    yield gauge(
        "stoa_line_head_age_seconds",
        "How long the first of the line has waited; 0 while nobody waits.",
        ("lane",),
        {(lane,): age for lane, _, age in rows},
    )


def _hosts() -> Iterator[Metric]:
    states = [state.value for state in HostState if state != HostState.REMOVED]
    count = _zeros(states, HostHealth.values)
    count.update({(state, health): number for state, health, number in _rows(_HOSTS)})
    yield gauge(
        "stoa_hosts",
        "Hosts, by what operators want of them and by measured health.",
        ("state", "health"),
        count,
    )


def _edges() -> Iterator[Metric]:
    states = _zeros(["ready", "out_of_step", "silent"])
    lags = _zeros([word for word, _ in LAGS])
    most = 0.0
    for state, lag, number, changes in _rows(_EDGES):
        states[state,] += number
        if state != "silent":
            lags[LAGS[lag][0],] += number
            most = max(most, changes)
    yield gauge("stoa_edges", "Edges: ready, out of step, or silent.", ("state",), states)
    yield gauge(
        "stoa_edges_by_lag",
        "Edges that are heard, by how many changes of routes they are behind.",
        ("lag",),
        lags,
    )
    yield gauge(
        "stoa_edge_lag_changes",
        "How many changes of routes the last of the edges that are heard is behind.",
        (),
        {(): most},
    )


def _rounds() -> Iterator[Metric]:
    yield gauge(
        "stoa_round_age_seconds",
        "How long ago a round of a periodic task last ended well.",
        ("round",),
        {(name,): age for name, age in _rows(_ROUNDS)},
    )


def _programs() -> Iterator[Metric]:
    alive, hearing = _zeros(["control", "sweep"]), _zeros(["control", "sweep"])
    for program, count, hears in _rows(_PROGRAMS):
        alive[program,], hearing[program,] = count, hears
    yield gauge("stoa_workers", "Worker processes that beat.", ("program",), alive)
    yield gauge(
        "stoa_workers_connected",
        "Worker processes that beat and hear the broker.",
        ("program",),
        hearing,
    )


def _alarms() -> Iterator[Metric]:
    yield gauge(
        "stoa_alarms",
        "Alarms that stand open, by their kind.",
        ("kind",),
        {(kind,): number for kind, number in _rows(_ALARMS)},
    )


def _sums() -> Iterator[Metric]:
    """Return what processes have counted; sums of names that this version does not know are left out."""
    known = {
        family.name: Metric(family.name, family.documentation, family.type)
        for family in REGISTRY.collect()
    }
    for series, bounds, sums in _rows(_SUMS):
        name, labels = json.loads(series)
        if name in known:
            _add(known[name], labels, [*bounds, math.inf], sums)
    yield from known.values()


def _add(
    family: Metric, labels: dict[str, str], bounds: Sequence[float], sums: Sequence[float]
) -> None:
    if family.type == "counter":
        family.add_sample(f"{family.name}_total", labels, sums[0])
        return
    if family.type == "histogram":
        for bound, value in zip(bounds, sums, strict=False):
            bounded = {**labels, "le": str(floatToGoString(bound))}  # type: ignore[no-untyped-call]
            family.add_sample(f"{family.name}_bucket", bounded, value)
    family.add_sample(f"{family.name}_count", labels, sums[-2])
    family.add_sample(f"{family.name}_sum", labels, sums[-1])
