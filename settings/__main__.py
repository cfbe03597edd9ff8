"""python3 -m settings VERB: what bin/ asks of the table.

export NAME    check all settings and print them for bash; errors name the program NAME
help           the settings in a few words, for bin/up --help
document       docs/settings.md
"""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from settings import document
from settings.setting import NEVER, WHILE_STOPPED, WITHOUT_SHOPS, SettingError
from settings.site import Site, load
from settings.table import KEPT

_FIXED = {
    "FIXED_WHILE_RUNNING": WHILE_STOPPED,
    "FIXED_FOR_LIFE": NEVER,
    "FIXED_WITH_SHOPS": WITHOUT_SHOPS,
}


def main(argv: list[str]) -> int:
    """See the module's text."""
    verb, of = (*argv, "", "")[:2]
    if verb in {"help", "document"}:
        print(document.short() if verb == "help" else document.page(), end="")
        return 0
    try:
        site = load(os.environ, Path.cwd())
    except SettingError as error:
        print(f"\n{of or 'settings'}: {error}", file=sys.stderr)
        return 1
    if verb == "export":
        print("\n".join(_for_bash(site)))
        return 0
    print(__doc__, file=sys.stderr)
    return 2


def _for_bash(site: Site) -> Iterator[str]:
    for name, value in sorted(site.variables.items()):
        if name.startswith("STOA_"):
            yield f"export {name}={shlex.quote(value)}"
    yield f"declare -ga SETTINGS=({' '.join(site.given)})"
    for name, values in (("STOA_SAVED", site.saved), ("STOA_GIVEN", site.given)):
        pairs = (f"[{key}]={shlex.quote(value)}" for key, value in values.items())
        yield f"declare -gA {name}=({' '.join(pairs)})"
    for name, when in _FIXED.items():
        fixed = (
            f"{setting.name}|{setting.change.because}"
            for setting in KEPT
            if setting.change.when == when
        )
        yield f"declare -ga {name}=({' '.join(map(shlex.quote, fixed))})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
