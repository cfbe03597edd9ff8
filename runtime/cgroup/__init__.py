"""Where a host's processes belong: one cgroup per instance tells what runs, bounds it and ends it."""

from runtime.cgroup.burners import Burners
from runtime.cgroup.cgroups import Cgroups
from runtime.cgroup.layout import Layout, layout_in
from runtime.cgroup.meter import Meter
from runtime.cgroup.readings import Usage

__all__ = ["Burners", "Cgroups", "Layout", "Meter", "Usage", "layout_in"]
