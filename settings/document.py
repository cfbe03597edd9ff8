"""docs/settings.md and the help of bin/up, made from the table."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from settings import common, control, edges, hosts, inner, outside
from settings.setting import AT_ANY_TIME, Setting, WorkedOut
from settings.table import AnySetting

_RULE = "# --- "
_HEAD = """\
# Settings

Made from settings/ by `python3 -m settings document`: change them there. A test compares.

Give a setting to `bin/up` as a variable: `STOA_HTTP_PORT=8081 bin/up`. It is kept in
`$STOA_VAR/settings` for the next time. `bin/up` looks at all settings before it installs or changes
anything, and every program at those it reads. A wrong one is refused with its name, its value and
what would be right. Nobody has to restart anything: `bin/up` brings a new value to the programs
that read it, and to no others (Updates and other settings in docs/operating.md). The empty text
means "not given".
"""
_INNER = {
    "Given each time": "`bin/up` does not keep these. Give them each time.",
    "Worked out": "`bin/up` and `bin/stoa-env` work these out for programs. Nobody gives them.",
}
MODULES = (common, hosts, edges, control, inner)
# What people need first.
_FIRST: tuple[AnySetting, ...] = (
    common.HTTP_PORT,
    common.DOMAIN,
    common.CONSOLE_HOST,
    common.PUBLIC_SCHEME,
    common.PORT_BASE,
    hosts.PORTS,
    hosts.PROBE_PORT,
    edges.PROXIES,
    control.SNAPSHOTS,
    control.ALARM_MAIL,
    control.SMTP_URL,
    control.ALARM_WEBHOOK,
    common.POOL_ADDRESS,
    inner.VAR,
    inner.CACHE,
    hosts.STORE_BYTES,
    common.SCOPE,
    hosts.SUBNET,
    hosts.HOSTS,
    hosts.LAB_SUBNET,
)


def page() -> str:
    """docs/settings.md."""
    parts = [_HEAD]
    for module in MODULES:
        for section, settings in _sections(str(module.__file__), vars(module)):
            about = f"{_INNER[section]}\n\n" if section in _INNER else ""
            parts.append(f"## {section}\n\n{about}{_table(settings)}")
    rows = "".join(f"| {name} | {means} |\n" for name, means in outside.SHOPS.items())
    parts.append(
        f"## What a shop finds\n\nIn its environment, besides `PORT`.\n\n| variable | |\n|---|---|\n{rows}"
    )
    return "\n".join(parts)


def short() -> str:
    """Return a line for each setting that people need first."""
    lines = [
        f"  {f'{setting.name}={setting.fixed_default}':<34} {_plain(setting.means)}"
        for setting in _FIRST
    ]
    return "\n".join(lines) + "\n"


def _sections(file: str, names: dict[str, object]) -> Iterator[tuple[str, list[AnySetting]]]:
    """Yield the sections of a module, by its rules between them."""
    section, found = "", list[AnySetting]()
    for line in Path(file).read_text().splitlines():
        if line.startswith(_RULE):
            if found:
                yield section, found
            section, found = line.removeprefix(_RULE).rstrip(" -"), []
        setting = names.get(line.partition(" = ")[0])
        if isinstance(setting, Setting):
            found.append(setting)
    yield section, found


def _table(settings: Iterable[AnySetting]) -> str:
    head = "| variable | without it | means | must be | read by | can change |\n|---|---|---|---|---|---|\n"
    return head + "".join(_row(setting) for setting in settings)


def _row(setting: AnySetting) -> str:
    default = setting.default.says if isinstance(setting.default, WorkedOut) else setting.default
    means = f"{setting.means} ({setting.unit})" if setting.unit else setting.means
    readers = ", ".join(sorted(reader.value for reader in setting.readers))
    change = setting.change.when if setting.change != AT_ANY_TIME else "at any time"
    if setting.change.because:
        change = f"{change}: {setting.change.because}"
    cells = (setting.name, default, means, setting.kind.right, readers, change)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _plain(text: str) -> str:
    return text.replace("`", "").replace("**", "")
