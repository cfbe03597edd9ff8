"""The settings that bin/up keeps."""

from typing import Any

from settings import common, control, edges, hosts
from settings.setting import Setting

AnySetting = Setting[Any]


def _of(*modules: object) -> tuple[AnySetting, ...]:
    return tuple(
        value for module in modules for value in vars(module).values() if isinstance(value, Setting)
    )


# What people may give, in the order of the file that keeps it.
KEPT = _of(common, hosts, edges, control)
