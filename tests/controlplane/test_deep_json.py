"""JSON from outside that is nested too deeply is wrong input like any other, wherever it is read."""

import ast
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.cli import api
from controlplane.cli.errors import CliError
from controlplane.joining import trust
from controlplane.joining.errors import RefusedError
from runtime.errors import HostError, SpecInvalidError
from runtime.image import layout, registry
from runtime.volume import archive, entries
from runtime.wire import parsed
from workers.agents.common import control_http
from workers.rpc import client

REPO = Path(__file__).resolve().parents[2]
DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
# Text that a program of ours has written in the same moment, or that PostgreSQL gives back.
OWN = {
    "runtime/bundle/config.py",
    "runtime/keeper/client.py",
    "runtime/keeper/renewing/handover.py",
    "runtime/keeper/watching/mending.py",
    "runtime/keeper/starting/start_queue.py",
    "runtime/network/firewalls.py",
    "tenants/core/metric_queries.py",
    "tenants/usage/usage_queries.py",
    "workers/agents/common/envelope.py",
    "workers/pool/reader.py",
}


def test_what_is_nested_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parsed(DEEP)


def _index(folder: Path) -> None:
    (folder / "index.json").write_bytes(DEEP)
    layout.manifest_digest(folder, "x")


def _auth_file(folder: Path) -> None:
    file = folder / "auth.json"
    file.touch(mode=0o600)
    file.write_bytes(DEEP)
    registry.check_auth_file(file)


@pytest.mark.parametrize(
    ("read", "refusal"),
    [
        (lambda _: trust._answer(400, DEEP, "https://pool"), RefusedError),
        (lambda _: api._answer(200, DEEP, "https://console"), CliError),
        (lambda _: control_http.parse(DEEP), HostError),
        (lambda _: layout.choose_manifest(DEEP, "sha256:" + 64 * "0"), SpecInvalidError),
        (_index, SpecInvalidError),
        (_auth_file, HostError),
        (lambda _: entries.read_manifest(io.BytesIO(DEEP + b"\n")), HostError),
        (
            lambda _: list(
                archive.ArchiveReader(io.BytesIO(DEEP[:2000] + b"\n"), most_bytes=1).lines()
            ),
            HostError,
        ),
    ],
)
def test_whoever_reads_it_refuses_it_in_words(
    read: Callable[[Path], object], refusal: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(refusal):
        read(tmp_path)


def test_an_agent_s_answer_is_an_error_of_that_agent() -> None:
    assert isinstance(client._opened(b'{"result":' + DEEP + b"}"), HostError)


def test_no_other_place_reads_json_without_expecting_it() -> None:
    found = [
        f"{file.relative_to(REPO)}:{line}"
        for room in ("controlplane", "runtime", "tenants", "workers")
        for file in sorted((REPO / room).rglob("*.py"))
        if str(file.relative_to(REPO)) not in OWN
        for line in _unguarded(ast.parse(file.read_text()))
    ]
    assert not found, "use runtime.wire.parsed, or catch RecursionError"


def test_the_files_that_may_are_all_there_and_do_it() -> None:
    for name in OWN:
        assert "json.loads(" in (REPO / name).read_text(), name


def _unguarded(tree: ast.Module) -> list[int]:
    """Lines with a json.loads that no handler for RecursionError stands around."""
    inside = {
        call
        for block in ast.walk(tree)
        if isinstance(block, ast.Try)
        and any(h.type is not None and "RecursionError" in ast.dump(h.type) for h in block.handlers)
        for statement in block.body
        for call in ast.walk(statement)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"loads", "load"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "json"
        and node not in inside
    ]
