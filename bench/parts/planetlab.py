"""PlanetLab days in CloudSim 3.0.3's model: its own policies, and the product's rebalancing beside them.

python -m bench.packing runs this as one of its parts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.parts import common
from bench.parts.common import said
from bench.research.cloudsim import Floats, Ints, Outcome, Policy, replay
from bench.research.cloudsim_policies import (
    LocalRegression,
    Threshold,
    first_fit,
    least_watts,
    never,
)
from bench.research.planetlab import Rebalancing, days, read_day

REFERENCE = "cloudsim303_reference.csv"
TARGET_SLAV = 3.1e-5
# Of LR-MMT's moves.
TARGET_MOVES = 0.1
# How far our model may be from the released simulator's figures: energy, moves.
NEAR_ENERGY, NEAR_MOVES = 0.02, 0.05
DVFS, THRESHOLD, REGRESSION, OURS = "DVFS", "THR-MMT 0.8", "LR-MMT 1.2", "Stoa"

_POLICIES: Mapping[str, tuple[Callable[[int], Ints], Callable[[], Policy]]] = {
    DVFS: (first_fit, lambda: never),
    THRESHOLD: (least_watts, Threshold),
    REGRESSION: (least_watts, LocalRegression),
    OURS: (least_watts, Rebalancing),
}
_REFERENCE_KEYS = {
    DVFS: ("dvfs", "", ""),
    THRESHOLD: ("thr", "mmt", "0.8"),
    REGRESSION: ("lr", "mmt", "1.2"),
}


@dataclass(frozen=True, slots=True)
class Published:
    """A row of the released simulator's figures."""

    energy_kwh: float
    migrations: int
    slav: float


@dataclass(frozen=True, slots=True)
class Day:
    """One day under all policies; published is empty where no figures are there."""

    name: str
    machines: int
    outcomes: Mapping[str, Outcome]
    published: Mapping[str, Published]


def measure(folder: Path, *, quick: bool) -> list[Day]:
    """All days in the folder, the first alone when quick."""
    reference = _reference(folder / REFERENCE)
    names = days(folder)
    found = []
    for name in names[:1] if quick else names:
        with said(f"PlanetLab {name}"):
            traces = read_day(folder, name)
            outcomes = {policy: run(traces, policy) for policy in _POLICIES}
        found.append(Day(name, len(traces), outcomes, reference.get(name, {})))
    return found


def run(traces: Floats, policy: str) -> Outcome:
    """One day under one policy."""
    first, made = _POLICIES[policy]
    return replay(traces, first(len(traces)), made())


def _reference(file: Path) -> dict[str, dict[str, Published]]:
    if not file.is_file():
        return {}
    found: dict[str, dict[str, Published]] = {}
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    head = lines[0].split(",")
    for line in lines[1:]:
        row = dict(zip(head, line.split(","), strict=True))
        for name, key in _REFERENCE_KEYS.items():
            if (row["policy"], row["selection"], row["param"]) == key:
                found.setdefault(row["day"], {})[name] = Published(
                    float(row["energy_kwh"]), int(row["migrations"]), float(row["slav_pct"]) / 100
                )
    return found


def verdicts(measured: Sequence[Day]) -> dict[str, bool]:
    """What is claimed, day by day, and whether it holds."""
    found: dict[str, bool] = {}
    for day in measured:
        ours, peer = day.outcomes[OURS], day.outcomes[REGRESSION]
        found.update(_model_verdicts(day))
        found[
            f"{day.name}: {ours.energy_kwh:.1f} kWh, target below LR-MMT's {peer.energy_kwh:.1f}"
        ] = ours.energy_kwh < peer.energy_kwh
        found[
            f"{day.name}: SLAV {ours.slav * 1e5:.2f}e-5, target at most {TARGET_SLAV * 1e5:g}e-5"
        ] = ours.slav <= TARGET_SLAV
        most = peer.migrations * TARGET_MOVES
        found[f"{day.name}: {ours.migrations} moves, target at most {most:.0f}"] = (
            ours.migrations <= most
        )
    return found


def _model_verdicts(day: Day) -> dict[str, bool]:
    found = {}
    for name in (DVFS, THRESHOLD):
        if name not in day.published:
            continue
        energy, moves = deviation(day.outcomes[name], day.published[name])
        found[
            f"{day.name}: model's {name} {energy:+.2%} energy and {moves:+.2%} moves from CloudSim 3.0.3's,"
            f" target within {NEAR_ENERGY:.0%} and {NEAR_MOVES:.0%}"
        ] = abs(energy) <= NEAR_ENERGY and abs(moves) <= NEAR_MOVES
    return found


def deviation(outcome: Outcome, published: Published) -> tuple[float, float]:
    """Of energy and of moves, as shares of what is published."""
    energy = outcome.energy_kwh / published.energy_kwh - 1
    moves = (outcome.migrations - published.migrations) / max(published.migrations, 1)
    return energy, moves


def report(measured: Sequence[Day]) -> str:
    """A table of all days and policies."""
    head = (
        "PlanetLab day, policy", "kWh", "CloudSim's", "moves", "CloudSim's", "SLAV e-5", "CloudSim's",
        "SLATAH %", "PDM %", "hosts",
    )  # fmt: skip
    return common.table(head, [_row(day, name) for day in measured for name in day.outcomes])


def _row(day: Day, name: str) -> tuple[str, ...]:
    one, known = day.outcomes[name], day.published.get(name)
    return (
        f"{day.name} {name}",
        f"{one.energy_kwh:.2f}",
        f"{known.energy_kwh:.2f}" if known else "–",
        str(one.migrations),
        str(known.migrations) if known else "–",
        f"{one.slav * 1e5:.2f}",
        f"{known.slav * 1e5:.2f}" if known else "–",
        f"{one.slatah:.2%}"[:-1],
        f"{one.pdm:.3%}"[:-1],
        f"{one.mean_hosts:.1f}",
    )


def as_json(measured: Sequence[Day]) -> list[dict[str, object]]:
    """For --json."""
    return [
        {
            "day": day.name,
            "machines": day.machines,
            "outcomes": {name: asdict(one) for name, one in day.outcomes.items()},
            "published": {name: asdict(one) for name, one in day.published.items()},
            "energy_of_lr_mmt": ratio(day, "energy_kwh"),
            "moves_of_lr_mmt": ratio(day, "migrations"),
        }
        for day in measured
    ]


def ratio(day: Day, name: str) -> float:
    """Ours as a share of LR-MMT's in the same run."""
    ours, peer = (float(getattr(day.outcomes[who], name)) for who in (OURS, REGRESSION))
    return round(ours / peer, 4) if peer else 0.0
