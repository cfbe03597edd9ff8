"""Settings of the tests: a PostgreSQL and a Redis of the test run's own, in a directory of its own.

Here it is only decided where they will be; tests/conftest.py starts them when a test needs them.
So loading these settings (mypy does) starts nothing.
"""

import os
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.fernet import Fernet


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# A program started by a test inherits its parent's place; one of several workers of a test run inherits
# the run's, which is not its own.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if "STOA_TEST_HOME" not in os.environ or os.environ.get("STOA_TEST_WORKER", "") != _worker:
    if "pytest" in sys.modules:
        _home = TemporaryDirectory(prefix="stoa-tests-", ignore_cleanup_errors=True)
        _path = Path(_home.name)
        _path.chmod(0o755)  # PostgreSQL runs as a user of its own in there
    else:  # mypy ends without cleaning up: one fixed place, and no servers will be there
        _path = Path(__file__).resolve().parent.parent.parent / "var" / "test-settings"
    _secrets = _path / "secrets"
    _secrets.mkdir(parents=True, exist_ok=True)
    (_secrets / "django-secret-key").write_text("only for tests")
    (_secrets / "fernet-key").write_bytes(Fernet.generate_key())
    (_secrets / "redis-control").write_text("only-for-tests")
    (_path / "static").mkdir(exist_ok=True)
    os.environ |= {
        "STOA_TEST_HOME": str(_path),
        "STOA_TEST_WORKER": _worker,
        "STOA_VAR": str(_path),
        "STOA_SECRETS_DIR": str(_secrets),
        "STOA_STATIC_ROOT": str(_path / "static"),
        "STOA_HTTP_PORT": "8080",
        "STOA_DOMAIN": "localhost",
        "STOA_CONSOLE_HOST": "localhost",
        "STOA_PUBLIC_SCHEME": "http",
        "STOA_LOG_LEVEL": "WARNING",
        "DATABASE_URL": f"postgres://stoa@/stoa?host={_path}/postgres",
        "STOA_BROKER_URL": f"redis://control:only-for-tests@127.0.0.1:{_free_port()}/0",
    }

from controlplane.settings.base import *  # noqa: E402, F403

# Argon2 is slow by design, and tests make many members.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Tests come from one address; those of the limits set their own.
STOA_SIGNUPS_PER_HOUR = 0
STOA_LOGINS_PER_QUARTER = 0
STOA_SIGNUPS_IN_ALL_PER_HOUR = 0
STOA_SHOPS_PER_LOGIN = 0
# Hosts that are in memory read and write the files of the repository themselves.
STOA_REPOSITORY_CLASS = "tests.repositories.FilesRepository"
