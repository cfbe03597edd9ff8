"""What the benchmark of the pool's scale takes for a scan, and when it says that a claim holds."""

from bench.pool_scale import Found, _scanned, _verdicts


def test_a_scan_is_found_however_deep_it_lies() -> None:
    plan = {
        "Node Type": "ModifyTable",
        "Relation Name": "tenants_host",
        "Plans": [
            {"Node Type": "Index Scan", "Relation Name": "tenants_placement"},
            {
                "Node Type": "Hash Join",
                "Plans": [{"Node Type": "Seq Scan", "Relation Name": "tenants_instance"}],
            },
        ],
    }
    assert _scanned(plan) == ["tenants_instance"]


def test_a_claim_is_about_the_slowest_of_a_hundred() -> None:
    found = Found(place_ms=(1.0,) * 98 + (11.0,) * 2, bulk_rate=5000.0, plan_seconds=10.0)
    missed = [text for text, met in _verdicts(found).items() if not met]
    assert missed == ["one placement p99 11.0 ms, at most 10"]
    assert not all(_verdicts(Found(place_ms=(1.0,), bulk_rate=6000.0, scans=("x",))).values())
