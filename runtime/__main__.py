"""`python -m runtime`: the command line of this host, configured by STOA_* variables."""

import os
import sys

from runtime import cli
from runtime.config import HostConfig


def _doctor(config: HostConfig, as_json: bool) -> int:
    from runtime import doctor

    return doctor.main(config, json=as_json)


if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:], os.environ, doctor=_doctor))
