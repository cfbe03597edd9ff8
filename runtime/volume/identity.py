"""Which directory a volume is: a mark that goes with the directory, and with nothing that replaces it.

Numbers of directories are given out again as soon as one is removed, so they cannot tell.
"""

import errno
import os
import secrets
from pathlib import Path

# Only root outside of user namespaces sees and sets these: no tenant does.
_MARK = "trusted.stoa-volume"
_NONE = frozenset({errno.ENOTSUP, errno.EPERM, errno.EACCES})


def of(volume: Path) -> str:
    """Return the directory's mark, made now where it has none; its number where there can be no mark."""
    try:
        return os.getxattr(volume, _MARK).decode()
    except OSError as error:
        if error.errno in _NONE:
            return str(volume.stat().st_ino)
        if error.errno != errno.ENODATA:
            raise
    made = secrets.token_hex(8)
    try:
        os.setxattr(volume, _MARK, made.encode())
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return str(volume.stat().st_ino)
    return made
