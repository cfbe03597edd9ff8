"""python3 -m settings VERB: what shells and people ask of the table.

export NAME    check all settings and print them for a shell; NAME is the program that an error names
document       docs/settings.md
"""

import os
import shlex
import sys
from pathlib import Path

from settings import document
from settings.setting import SettingError
from settings.site import load


def main(argv: list[str]) -> int:
    """See the module's text."""
    verb, of = (*argv, "", "")[:2]
    if verb == "document":
        print(document.page(), end="")
        return 0
    try:
        site = load(os.environ, Path.cwd())
    except SettingError as error:
        print(f"\n{of or 'settings'}: {error}", file=sys.stderr)
        return 1
    if verb == "export":
        for name, value in sorted(site.variables.items()):
            if name.startswith("STOA_"):
                print(f"export {name}={shlex.quote(value)}")
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
