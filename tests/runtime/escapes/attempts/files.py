"""Attempts on files of the kernel."""

from .calls import Attempt, content, read, write

ATTEMPTS: dict[str, Attempt] = {
    "core_pattern": lambda: write("/proc/sys/kernel/core_pattern", "|/data/run"),
    "modprobe": lambda: write("/proc/sys/kernel/modprobe", "/data/run"),
    "panic": lambda: write("/proc/sys/kernel/panic", "1"),
    "user-namespaces-again": lambda: write("/proc/sys/user/max_user_namespaces", "10"),
    "ip_forward": lambda: write("/proc/sys/net/ipv4/ip_forward", "1"),
    "ipv6-on": lambda: write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0"),
    "binfmt_misc": lambda: write("/proc/sys/fs/binfmt_misc/register", ":x:M::x::/data/run:"),
    "sysrq-trigger": lambda: write("/proc/sysrq-trigger", "h"),
    "kmsg": lambda: read("/dev/kmsg"),
    "proc-kmsg": lambda: read("/proc/kmsg"),
    "kcore": lambda: content("/proc/kcore"),
    "keys": lambda: content("/proc/keys"),
    "timer_list": lambda: content("/proc/timer_list"),
    "irq": lambda: write("/proc/irq/default_smp_affinity", "1"),
    "uevent_helper": lambda: write("/sys/kernel/uevent_helper", "/data/run"),
    "uevent": lambda: write("/sys/class/net/lo/uevent", "add"),
    "module-parameter": lambda: write("/sys/module/kernel/parameters/panic", "1"),
    "power": lambda: write("/sys/power/state", "mem"),
    "drop_caches": lambda: write("/proc/sys/vm/drop_caches", "1"),
    "oom-score-lower": lambda: write("/proc/self/oom_score_adj", "-500"),
    "uid-map": lambda: write("/proc/self/uid_map", "0 0 4294967295"),
    "crun": lambda: write("/usr/bin/crun", "#!/data/run"),
}
