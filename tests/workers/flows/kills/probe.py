import sys, time
from pathlib import Path
import pytest
from django.db import connection
from tests.workers.flows.kills import points
from tests.workers.flows.kills.checks import faults
from tests.workers.flows.kills.disturbances import DISTURBANCES
from tests.workers.flows.kills.harness import Case, Journey
from tests.workers.flows.kills.scenes import SCENES
from tests.workers.flows.kills.stage import prepared
import os

@pytest.mark.django_db
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", [n for n in SCENES if os.environ.get("ONLY", n) == n])
def test_probe(name, tmp_path, django_db_setup, django_db_blocker):
    scene = SCENES[name]
    bad = 0
    with django_db_blocker.unblock(), prepared(scene) as p:
        with p.case():
            j = Journey(p, None); j.settle(); 
            print("\n==", name, j.operation.state, j.told, j.calls, faults(j))
            p.calls = dict(j.calls)
            seen = list(dict.fromkeys(j.reached))
        began = time.time(); n = 0; cpu = time.process_time()
        for way, step, when in seen:
            for d in DISTURBANCES:
                if d not in os.environ.get("D", d).split(","): continue
                if way not in os.environ.get("W", way).split(","): continue
                case = Case(name, way, step, when, d)
                with p.case():
                    j = Journey(p, case, is_well=lambda one: not faults(one))
                    try:
                        j.settle()
                        f = faults(j)
                    except Exception as e:
                        import traceback; traceback.print_exc(limit=-6, file=sys.stdout)
                        f = [repr(e)]
                    n += 1
                    if f or os.environ.get("V"):
                        bad += 1
                        print(case.name, j.operation.state, j.operation.error_code, j.operation.error_message, "|", j.told, f)
        print(name, n, "cases", round(time.time()-began,1), "s", round((time.process_time()-cpu)/n, 3), "cpu each", bad, "bad")
        connection.close
