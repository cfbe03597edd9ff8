"""python3 -m installer VERB: what the programs in bin/, deploy/ and tests/ have done here.

up WORD…                bin/up
down WORD…              bin/down
prepare KIND            install what a machine of this kind (host, server, developer) lacks, and .venv
boot HOST               start a further host that does not run, as a machine boots
secrets OWNER FILE…     make the secrets that are missing, and give all of them to their owner

The standard library alone: it runs with Debian's python3, before there is a .venv.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from installer.progress import InstallError, Steps
from runtime.errors import RuntimeCoreError
from settings.setting import SettingError

_ENDED, _INTERRUPTED = 143, 130  # as shells say it: 128 + signal


def main(argv: Sequence[str]) -> int:
    """See the module's text."""
    verbs: dict[str, Callable[[list[str]], int]] = {
        "up": _up,
        "down": _down,
        "prepare": _prepare,
        "boot": _boot,
        "secrets": _secrets,
    }
    if not argv or argv[0] not in verbs:
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_ENDED))
    try:
        return verbs[argv[0]]([*argv[1:]])
    except (InstallError, SettingError, RuntimeCoreError, OSError) as error:
        sys.stdout.flush()
        print(f"\n{argv[0]}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _up(words: list[str]) -> int:
    from installer import up

    return up.main(words)


def _down(words: list[str]) -> int:
    from installer import down

    return down.main(words)


def _prepare(words: list[str]) -> int:
    from installer.machine.prepare import prepare

    prepare(words[0], Steps(sys.stdout))
    return 0


def _boot(words: list[str]) -> int:
    from installer.further import host
    from installer.installation import Installation
    from settings.site import load

    host.start(Installation(load(os.environ, Path.cwd()), Steps(sys.stdout)), words[0])
    return 0


def _secrets(words: list[str]) -> int:
    from installer import secret_files

    for file in words[1:]:
        secret_files.ensure(Path(file), owner=words[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
