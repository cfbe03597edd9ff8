"""settings/: each setting is declared once, documented, and refused alike by everybody who reads it."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from runtime.config import host_config
from runtime.edge.config import edge_config
from runtime.errors import SpecInvalidError
from settings import common, document, fit, outside
from settings.setting import Reader, Setting, SettingError
from settings.site import load
from settings.table import KEPT, AnySetting

REPO = Path(__file__).resolve().parents[2]
PRODUCT = ("bin", "controlplane", "deploy", "images", "installer", "runtime", "tenants", "workers")
BY_NAME: dict[str, AnySetting] = {
    one.name: one
    for module in document.MODULES
    for one in vars(module).values()
    if isinstance(one, Setting)
}
# Of the tests themselves.
TESTS = {
    "STOA_TEST_HOME": "the servers of a test run",
    "STOA_TEST_WORKER": "which of pytest's workers this is",
    "STOA_TEST_S3_SERVER": "another program than moto's server",
    "STOA_BROWSER": "the start of a setting of Django's",
    "STOA_FAKE": "how a container of the fake agent goes wrong",
    "STOA_FAKE_AGENT": "an older agent",
    "STOA_CHAOS_SEED": "the chaos run to repeat",
    "STOA_WRITE_MATRIX": "whether docs/flows-under-kill.md is written anew",
    "STOA_LAB_PARTITION_SECONDS": "how long a host is cut off",
}
_NAME = re.compile(r"\bSTOA_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_*])")
_USE = re.compile(r"\b(common|hosts|edges|control|inner)\.([A-Z0-9_]+)\b")
_WRONG = "?! \u20ac"


@cache
def texts() -> dict[str, str]:
    """Every text file of the repository, by its path."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=REPO,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    found = {}
    for name in names:
        path = REPO / name
        if path.is_file() and path.suffix not in {".gz", ".png", ".ico", ".woff2", ".mo"}:
            found[name] = path.read_text(errors="replace")
    return found


def shell() -> str:
    """What is written in bash."""
    return "\n".join(
        text
        for name, text in texts().items()
        if name.startswith(("bin/", "deploy/"))
        and text.startswith(("#!/usr/bin/env bash", "# shellcheck"))
    )


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for name, text in texts().items():
        is_there = name.endswith(".py") and name.startswith(tuple(f"{one}/" for one in folders))
        if is_there and "STOA_" in text:
            yield name, ast.parse(text)


def test_the_documentation_is_that_of_the_table() -> None:
    made = document.page()
    assert (REPO / "docs/settings.md").read_text() == made, (
        "write it anew: python3 -m settings document >docs/settings.md"
    )
    assert {one for one in BY_NAME if f"| {one} |" not in made} == set()


def test_every_name_in_the_repository_is_declared() -> None:
    base = ast.parse(texts()["controlplane/settings/base.py"])
    of_django = {
        target.id
        for node in ast.walk(base)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    known = {*BY_NAME, *outside.SHOPS, *TESTS, *of_django}
    unknown = {
        f"{file}: {name}"
        for file, text in texts().items()
        if file not in {"CHANGELOG.md", "tests/deploy/test_settings_table.py"}
        for name in _NAME.findall(text)
        if name not in known
    }
    assert unknown == set()


def test_every_declared_name_is_read_by_somebody() -> None:
    elsewhere = "\n".join(
        text for name, text in texts().items() if name.startswith(tuple(f"{x}/" for x in PRODUCT))
    )
    inside = "\n".join(text for name, text in texts().items() if name.startswith("settings/"))
    constants = {
        setting.name: f"{module.__name__.rpartition('.')[2]}.{constant}"
        for module in document.MODULES
        for constant, setting in vars(module).items()
        if isinstance(setting, Setting)
    }
    named = set(re.findall(r"\bSTOA_[A-Z0-9_]+", elsewhere))
    used = {f"{module}.{name}" for module, name in _USE.findall(elsewhere + inside)}
    assert [n for n, constant in constants.items() if n not in named and constant not in used] == []
    others = {*outside.SHOPS, *TESTS}
    files = (
        text
        for name, text in texts().items()
        if name not in {"settings/outside.py", "tests/deploy/test_settings_table.py"}
    )
    assert others - {one for text in files for one in _NAME.findall(text)} == set()


def test_no_program_reads_a_setting_past_the_table() -> None:
    """A literal name in the product's Python is a second place for a default, or for what is allowed."""
    folders = tuple(one for one in PRODUCT if one not in {"bin", "images"})
    found = [
        f"{name}:{node.lineno}: {node.value}"
        for name, tree in modules(*folders)
        if name != "controlplane/settings/test.py"  # gives them, to programs that tests start
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in BY_NAME
    ]
    assert found == []


def test_no_script_has_a_default_of_its_own() -> None:
    own = re.findall(r"\$\{(STOA_[A-Z0-9_]+):?-([^}]+)\}", shell())
    # The container's own place, before anything can be asked.
    assert {name for name, _ in own} <= {"STOA_VAR", "STOA_CACHE"}
    compose = re.findall(r"\$\{(STOA_[A-Z0-9_]+):-([^}]*)\}", texts()["docker-compose.yml"])
    assert compose
    for name, default in compose:
        assert default in {"", BY_NAME[name].fixed_default}, name
    # Inside its containers nobody gives another.
    base = common.PORT_BASE.of({})
    ports = {int(one) for one in re.findall(r":(1\d{4})\b", texts()["docker-compose.yml"])}
    assert ports == {base + 2, base + 3, base + 6}
    assert f"STOA_SUBNET: {BY_NAME['STOA_SUBNET'].fixed_default}\n" in texts()["docker-compose.yml"]


class Noted(Mapping[str, str]):
    """An environment that notes which variables are read."""

    def __init__(self) -> None:
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _edge(environ: Mapping[str, str]) -> object:
    return edge_config(environ, descriptors=20_000, has_ipv6=False)


@pytest.mark.parametrize(
    ("read", "reader"), [(host_config, Reader.HOST), (_edge, Reader.EDGE)], ids=["host", "edge"]
)
def test_an_agent_reads_only_settings_that_say_so(
    read: Callable[[Mapping[str, str]], object], reader: Reader
) -> None:
    noted = Noted()
    read(noted)
    assert {one for one in noted.read if reader not in BY_NAME[one].readers} == set()


def test_the_control_plane_reads_only_settings_that_say_so() -> None:
    base = texts()["controlplane/settings/base.py"]
    read = set(re.findall(r"given\((\w+)\.(\w+)\)", base))
    constants = {
        (module.__name__.rpartition(".")[2], name): setting
        for module in document.MODULES
        for name, setting in vars(module).items()
    }
    assert len(read) > 30
    assert {one for one in read if Reader.CONTROL not in constants[one].readers} == set()


@pytest.mark.parametrize("setting", KEPT, ids=lambda one: one.name)
def test_a_wrong_value_is_refused_alike_by_everybody_who_reads_it(
    setting: AnySetting, tmp_path: Path
) -> None:
    with pytest.raises(SettingError) as caught:
        setting.of({setting.name: _WRONG})
    said = str(caught.value)
    assert setting.name in said
    assert "; it must be " in said
    assert (repr(_WRONG) in said) == setting.kind.is_shown
    with pytest.raises(SettingError, match=re.escape(said)):
        load({setting.name: _WRONG, "STOA_VAR": str(tmp_path)}, tmp_path)
    readers: dict[Reader, Callable[[Mapping[str, str]], object]] = {
        Reader.KEEPER: host_config,
        Reader.EDGE: _edge,
    }
    for reader in setting.readers & set(readers):
        noted = Noted()
        readers[reader](noted)
        if setting.name in noted.read:
            with pytest.raises(SpecInvalidError, match=re.escape(said)):
                readers[reader]({setting.name: _WRONG})


def test_every_default_is_right() -> None:
    for setting in KEPT:
        setting.of({})
        if setting.fixed_default:
            assert setting.of({setting.name: setting.fixed_default}) == setting.of({})


def test_every_setting_is_told_in_one_short_sentence() -> None:
    for setting in BY_NAME.values():
        assert 2 <= len(setting.means.split()) <= 30, setting.name
        assert setting.kind.right, setting.name
        assert setting.readers, setting.name


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"STOA_PROBE_PORT": "12000"}, "STOA_PROBE_PORT=9797"),
        ({"STOA_HTTP_PORT": "18802"}, "one of the six ports above STOA_PORT_BASE"),
        ({"STOA_EDGE_PROXY_PORT": "90"}, "STOA_EDGE_PROXIES"),
        ({"STOA_DISK_LOW_PERCENT": "97"}, "STOA_DISK_FULL_PERCENT is 95"),
        ({"STOA_SUBNET": "100.96.0.0/24"}, "need as many addresses"),
        ({"STOA_SUBNET": "198.18.0.0/16", "STOA_HOSTS": "2"}, "have addresses in common"),
        ({"STOA_POOL_ADDRESS": "100.96.0.9"}, "lies inside STOA_SUBNET"),
        ({"STOA_SLICE_CPU_MILLIS": "1000"}, "STOA_SLICE_MEMORY_BYTES"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(
    environ: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        fit.site(environ)


def test_what_was_given_once_is_known_the_next_time_and_what_follows_from_it_is_not_kept(
    tmp_path: Path,
) -> None:
    first = load({"STOA_VAR": "v", "STOA_HTTP_PORT": "8099"}, tmp_path)
    assert first.var == tmp_path / "v"
    assert first.given["STOA_PUBLIC_PORT"] == ""
    assert first.variables["STOA_PUBLIC_PORT"] == "8099"
    (tmp_path / "v").mkdir()
    lines = "".join(f"{name}={value}\n" for name, value in first.given.items())
    (tmp_path / "v/settings").write_text(lines)
    again = load({"STOA_VAR": "v", "STOA_DOMAIN": ""}, tmp_path)
    assert again.given == first.given
    assert again.saved["STOA_HTTP_PORT"] == "8099"
    other = load({"STOA_VAR": "v", "STOA_HTTP_PORT": "8100"}, tmp_path)
    assert other.variables["STOA_CONSOLE_URL"] == "http://localhost:8100"


def test_a_caller_from_another_stoa_does_not_lend_it_its_places(tmp_path: Path) -> None:
    other = load({"STOA_VAR": "/srv/other", "STOA_PORT_BASE": "19000"}, tmp_path)
    mine = load({**other.variables, "STOA_VAR": "/srv/mine"}, tmp_path)
    assert mine.variables["STOA_SECRETS_DIR"] == "/srv/mine/secrets"
    assert mine.variables["STOA_PG_SOCKET"] == "/srv/mine/postgres/socket"


def test_debians_python_reads_the_table_before_anything_is_installed(tmp_path: Path) -> None:
    code = (
        "import sys, settings.__main__ as m; code = m.main(['export', 'up']);"
        "assert not [x for x in sys.modules if x.split('.')[0] in ('django', 'runtime', 'controlplane')];"
        "sys.exit(code)"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-S", "-c", code],
        cwd=REPO,
        env={"PATH": os.environ["PATH"], "STOA_VAR": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"export STOA_VAR={tmp_path}" in done.stdout
    assert sys.version_info >= (3, 11)
