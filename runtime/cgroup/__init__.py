"""Where a host's processes belong: one cgroup per instance tells what runs, bounds it and ends it."""

from runtime.cgroup.cgroups import Cgroups
from runtime.cgroup.layout import Layout, layout_in

__all__ = ["Cgroups", "Layout", "layout_in"]
