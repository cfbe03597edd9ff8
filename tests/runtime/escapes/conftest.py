"""One host for the whole suite: a prisoner of each kind and a neighbour to be left in peace."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.errors import RuntimeCoreError
from runtime.specs import Fence, InstanceSpec
from runtime.statuses import ExecResult
from tests.runtime.escapes.prisons import PYTHON, TRY, python_layer
from tests.runtime.hosts import BUSYBOX, Host, lack_of_store, write_test_image

FIRST = Fence(1, 1)
KINDS = ("user", "root")


@dataclass(frozen=True)
class Prisoner:
    """A running container out of which the tests try to get."""

    host: Host
    spec: InstanceSpec
    kind: str

    @property
    def pid(self) -> int:
        """Its first process, as this machine numbers it."""
        return self.host.driver().status(self.spec.instance_id).pid

    def run(self, *argv: str, seconds: float = 30.0) -> ExecResult:
        return self.host.driver().exec(self.spec.instance_id, argv, timeout_seconds=seconds)

    def python(self, program: str, *args: str, seconds: float = 30.0) -> str:
        """What a Python program inside says; AssertionError when it fails."""
        done = self.run(PYTHON, "-c", program, *args, seconds=seconds)
        assert done.exit_code == 0, done.output
        return done.output.strip()

    def tries(self, *names: str) -> dict[str, str]:
        """How each named attempt ended inside."""
        done = self.run(PYTHON, "-c", TRY, *names, seconds=60)
        assert done.exit_code == 0, done.output
        found: dict[str, str] = json.loads(done.output.splitlines()[-1])
        return found


@pytest.fixture(scope="session")
def prison_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with both images in its store and its keeper running."""
    if not BUSYBOX.exists():
        pytest.skip(f"no {BUSYBOX}: apt-get install busybox-static")
    place = tmp_path_factory.mktemp("prison")
    host = Host(place / "host")
    host.state_dir.mkdir()
    try:
        host.digest = add_image(host, place / "user", user="1000:1000", mark="user")
        add_image(host, place / "root", user="0", mark="root")
        if not lack_of_store():
            host.make_store()
        host.start_keeper()
        yield host
    finally:
        host.close()


def add_image(host: Host, place: Path, *, user: str, mark: str, working_dir: str = "") -> str:
    """Make an image with Python for a user and put it into the host's store; returns its digest."""
    write_test_image(place, user=user, mark=mark, above=[python_layer()], working_dir=working_dir)
    return host.images.import_layout(place, mark)


def image_of(host: Host, kind: str) -> str:
    """The digest of the image that runs as an unprivileged user ("user") or as root inside ("root")."""
    return next(one.digest for one in host.images.list() if one.name == kind)


@pytest.fixture(scope="session")
def neighbour(prison_host: Host) -> Prisoner:
    """Somebody else's container on the same host, with secrets in its volume."""
    spec = prison_host.spec(1, volume="neighbour", env=(("MODE", "writer"), ("SECRET", "hunter2")))
    prison_host.driver().ensure_running(spec, fence=FIRST)
    return Prisoner(prison_host, spec, "user")


@pytest.fixture(scope="session", params=KINDS)
def prisoner(request: pytest.FixtureRequest, prison_host: Host, neighbour: Prisoner) -> Prisoner:
    """A container as an image's unprivileged user, and one as root inside its user namespace."""
    kind: str = request.param
    spec = prison_host.spec(
        2 + KINDS.index(kind), image_digest=image_of(prison_host, kind), volume=f"cell-{kind}"
    )
    try:
        prison_host.driver().ensure_running(spec, fence=FIRST)
    except RuntimeCoreError as error:
        pytest.fail(f"no prisoner: {error}")
    return Prisoner(prison_host, spec, kind)
