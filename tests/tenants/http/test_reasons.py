"""Every code of an operation has a name in both languages."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import runtime
from runtime.errors import RuntimeCoreError
from tenants.errors import NoRoomError, WaitError
from tenants.http import reasons
from workers.flows import errors as flow_errors
from workers.flows.errors import FlowError

ROOT = Path(__file__).resolve().parents[3]


def _all(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(_all(child) for child in kind.__subclasses__()))


def _codes() -> set[str]:
    """Those of the errors that end or delay a flow, and those that the source names as text."""
    for module in pkgutil.walk_packages(runtime.__path__, "runtime."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)  # an error of which nobody has heard is none yet
    kinds = _all(RuntimeCoreError) | _all(FlowError) | _all(WaitError) | _all(NoRoomError)
    # An error of a bench or of a test is no operation's.
    ours = {
        kind for kind in kinds if kind.__module__.split(".")[0] in {"runtime", "tenants", "workers"}
    }
    codes = {str(kind.__dict__.get("code", "")) for kind in ours}
    for path in [*(ROOT / "tenants/services").glob("*.py"), *(ROOT / "workers").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg in {"code", "error_code"}:
                value = node.value
                codes |= {str(value.value)} if isinstance(value, ast.Constant) else set()
    return (codes | {flow_errors.LEFT_OLDER, flow_errors.LEFT_UNSURE, "deadline", "internal"}) - {
        ""
    }


@pytest.mark.parametrize("code", sorted(_codes()))
def test_every_code_has_a_label_in_both_languages(code: str) -> None:
    _is_in_both_languages(str(reasons.label(code)))


def _is_in_both_languages(english: str) -> None:
    assert english
    text = (ROOT / "locale/ja/LC_MESSAGES/django.po").read_text()
    assert f'\nmsgid "{english}"\nmsgstr ""\n' not in text
    assert f'\nmsgid "{english}"\nmsgstr "' in text
