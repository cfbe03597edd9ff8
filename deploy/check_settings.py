"""Reads the settings as every program does: `python -m deploy.check_settings` names a wrong one."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured

from runtime.config import host_config
from runtime.edge.config import edge_config
from runtime.errors import RuntimeCoreError

# Connections follow from it; that they fit is looked at where the edge starts.
_DESCRIPTORS = 20_000


def main() -> int:
    """0 when all of them could start with these."""
    try:
        host_config(os.environ)
        edge_config(os.environ, descriptors=_DESCRIPTORS)
        import controlplane.settings.base  # noqa: F401 - reading it is the check
    except (RuntimeCoreError, ImproperlyConfigured) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
