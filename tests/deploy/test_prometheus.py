"""The alert rules and the dashboard in deploy/prometheus: valid, and of metrics that /metrics has."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from controlplane.monitoring import metrics

FOLDER = Path(__file__).resolve().parents[2] / "deploy/prometheus"
RULES = FOLDER / "stoa-alerts.yml"
DASHBOARD = FOLDER / "stoa-dashboard.json"


def promtool(*args: str | Path) -> "subprocess.CompletedProcess[str]":
    """promtool, or a skip that says why."""
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian: prometheus); bin/test installs it")
    return subprocess.run(
        ["promtool", *map(str, args)], check=False, capture_output=True, text=True, cwd=FOLDER
    )


_OF_TYPE = {
    "gauge": ("",),
    "counter": ("",),  # its _total is in the name already
    "summary": ("_count", "_sum"),
    "histogram": ("_bucket", "_count", "_sum"),
}


def names_of(text: str) -> set[str]:
    """Every name that a sample may have in a text of metrics, counted or not."""
    families = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    return {name + end for name, kind in families for end in _OF_TYPE[kind]}


def expressions() -> list[str]:
    """Every expression of the rules and of the dashboard."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [rule["expr"] for group in groups for rule in group["rules"]] + [
        target["expr"] for panel in panels for target in panel["targets"]
    ]


def test_promtool_finds_no_fault_with_the_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_refuses_a_rule_that_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(RULES.read_text().replace("stoa_broker_up == 0", "stoa_broker_up === 0"))
    assert promtool("check", "rules", wrong).returncode != 0


def test_promtool_finds_no_fault_with_what_the_dashboard_asks(tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": one.replace("$__rate_interval", "1m")}
        for number, one in enumerate(asked)
    ]
    written = tmp_path / "panels.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", written)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_only_then() -> None:
    done = promtool("test", "rules", Path(__file__).with_name("stoa-alerts-test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.django_db
def test_rules_and_dashboard_ask_for_metrics_that_exist(redis_url: str) -> None:
    exist = names_of(metrics.read().decode())
    asked = {name for one in expressions() for name in re.findall(r"\bstoa_\w+", one)}
    assert len(asked) > 15
    assert asked - exist == set()


@pytest.mark.django_db
def test_the_operators_guide_names_metrics_that_exist(redis_url: str) -> None:
    text = metrics.read().decode()
    families = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    guide = (FOLDER.parents[1] / "docs/operating.md").read_text()
    told = set(re.findall(r"`(stoa_\w+?)(?:\{[\w,=\"]+\})?`", guide))
    assert len(told) > 15
    assert told - families == set()
    assert families - told == set()


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    rules = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}
