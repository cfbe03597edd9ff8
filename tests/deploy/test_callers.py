"""Every public function, class, method and constant of the product is used by it: what is not has to go."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deploy.callers import Product
from tests.deploy.tree import PACKAGES, REPO

# What is called from outside the product, or is to be called soon, and why that is right.
ALLOWED = {
    "controlplane.database.base.DatabaseWrapper": "Django's name in a database back end",
    "controlplane.serving.depot_server.ssl_context": "gunicorn's name for a hook",
    "controlplane.events.application": "gunicorn takes it from controlplane.asgi",
    "controlplane.serving.wire.Wire.gettimeout": "gunicorn asks a socket for it",
    "controlplane.serving.takeover.on_reload": "gunicorn's name for a hook",
    "controlplane.serving.takeover.post_worker_init": "gunicorn's name for a hook",
    "tenants.api.authentication.TokenScheme": "drf-spectacular finds subclasses",
    "tenants.usage.models.HostWeek": "makes the table; its rows are read and written by plain SQL",
    "tenants.api.declared.DeclaredExtension": "drf-spectacular finds subclasses",
    "tenants.core.models.MetricSum": "makes the table; its rows are read and written by plain SQL",
    "tenants.http.strict_requests.StrictRequests.process_exception": "Django's name in a middleware",
}
SHOP = {
    "shop/__init__.py": "",
    "shop/till.py": "def open_till():\n    return 1\n",
}


def _tree(root: Path, files: Mapping[str, str]) -> Product:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Product(root, ["shop"], ["deploy"])


def _dead(root: Path, **modules: str) -> list[str]:
    """What is found in the package shop with these modules beside till, or in the place of it."""
    files = {f"shop/{name}.py": text for name, text in modules.items()}
    return _tree(root, SHOP | files).without_callers()


def test_everything_public_has_a_caller() -> None:
    product = Product(REPO, PACKAGES, ["bin", "deploy"])
    found = {*product.without_callers(), *product.methods_without_callers()}
    assert found - set(ALLOWED) == set(), (
        "nothing in the product uses these: delete them with their tests, move them to bench or to"
        " tests/support, or say in ALLOWED who calls them"
    )
    assert set(ALLOWED) - found == set(), "these have a caller, or are gone: take them off ALLOWED"
    # Django itself takes the tables from tenants.models.
    handed_on = [
        one for one in product.handed_on_for_nothing() if not one.startswith("tenants.models.")
    ]
    assert handed_on == [], "nobody takes these from the package"


@pytest.mark.parametrize(
    "user",
    [
        "from shop.till import open_till\n\nopen_till()",
        "from shop.till import open_till as opened\n\nopened()",
        "from shop import till\n\ntill.open_till()",
        "import shop.till\n\nshop.till.open_till()",
        "from .till import open_till\n\nopen_till()",
        "def _f():\n    from shop import till\n\n    return till.open_till()",
        "from shop import till\n\n_TABLE = {1: till}\n\n\ndef _f(one):\n    return one.open_till()",
        '_NAMED = "shop.till.open_till"',
        '_NAMED = "shop.till:open_till"',
    ],
)
def test_what_is_used_anywhere_in_the_product_is_not_found(tmp_path: Path, user: str) -> None:
    assert _dead(tmp_path, desk=user) == []


def test_a_file_that_is_not_python_may_name_it(tmp_path: Path) -> None:
    files = {"deploy/run": "python -c 'from shop.till import open_till; open_till()'"}
    assert _tree(tmp_path, SHOP | files).without_callers() == []


def test_its_own_module_may_use_it(tmp_path: Path) -> None:
    used = "def open_till():\n    return 1\n\n\ndef _f():\n    return open_till()"
    assert _dead(tmp_path, till=used) == []


@pytest.mark.parametrize(
    "others",
    [
        "",
        "# open_till()",
        '"""Ask open_till, or shop.till.open_till."""',
        "from shop.other import open_till\n\nopen_till()",
        "def _f(open_till):\n    return open_till()",
        "def _f(one):\n    return one.open_till()",
    ],
)
def test_a_dead_function_is_found_whatever_else_has_its_name(tmp_path: Path, others: str) -> None:
    assert "shop.till.open_till" in _dead(tmp_path, desk=others)


def test_a_function_that_only_calls_itself_is_dead(tmp_path: Path) -> None:
    assert _dead(tmp_path, till="def open_till():\n    return open_till()") == [
        "shop.till.open_till"
    ]


def test_a_constant_that_nothing_reads_is_dead(tmp_path: Path) -> None:
    till = (
        "MOST, LEAST = 2, 1\nNAMES: dict[str, int] = {}\n_OWN = 1\n\n\ndef _f():\n    return MOST"
    )
    assert _dead(tmp_path, till=till) == ["shop.till.LEAST", "shop.till.NAMES"]


def test_a_caller_outside_the_product_does_not_count(tmp_path: Path) -> None:
    files = {"tests/test_till.py": "from shop.till import open_till\n\nopen_till()"}
    assert _tree(tmp_path, SHOP | files).without_callers() == ["shop.till.open_till"]


FACADE = 'from shop.till import open_till\n\n__all__ = ["open_till"]\n'


@pytest.mark.parametrize("facade", ["__init__", "desk"])
def test_a_facade_that_hands_a_name_on_is_no_caller(tmp_path: Path, facade: str) -> None:
    assert _dead(tmp_path, **{facade: FACADE}) == ["shop.till.open_till"]


def test_who_uses_a_name_through_a_facade_is_its_caller(tmp_path: Path) -> None:
    user = {"shop/__init__.py": FACADE, "shop/desk.py": "import shop\n\nshop.open_till()"}
    product = _tree(tmp_path, SHOP | user)
    assert product.without_callers() == []
    assert product.handed_on_for_nothing() == []


def test_what_a_package_hands_on_and_nobody_takes_from_it_is_found(tmp_path: Path) -> None:
    user = {"shop/__init__.py": FACADE, "shop/desk.py": "from shop.till import open_till"}
    assert _tree(tmp_path, SHOP | user).handed_on_for_nothing() == ["shop.open_till"]


def test_what_is_registered_is_called_by_whom_it_is_registered_with(tmp_path: Path) -> None:
    tasks = (
        "from celery import shared_task\n\n\n@shared_task(name='x')\ndef open_till():\n    return 1"
    )
    assert _dead(tmp_path, till=tasks) == []


def test_a_filter_is_used_where_a_template_names_it(tmp_path: Path) -> None:
    module = "\n".join(
        f"@library.filter\ndef {name}(value):\n    return value\n" for name in ("grouped", "lonely")
    )
    files = {"shop/templatetags/tags.py": module, "shop/templates/a.html": "{{ count|grouped }}"}
    assert _tree(tmp_path, files).without_callers() == ["shop.templatetags.tags.lonely"]


def test_a_method_that_nothing_mentions_is_found(tmp_path: Path) -> None:
    text = """
from http.server import BaseHTTPRequestHandler


class _Till:
    def open(self):
        return self.open()

    def close(self):
        return 1

    @property
    def total(self):
        return 1


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        return _Till().close()
"""
    files = {"shop/till.py": text, "shop/templates/a.html": "{{ till.total }}"}
    assert _tree(tmp_path, files).methods_without_callers() == ["shop.till._Till.open"]
