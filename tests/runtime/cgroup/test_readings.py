"""Accounting files of both cgroup versions, as recorded from real kernels."""

import pytest

from runtime.cgroup.readings import Usage, field, usage_v1, usage_v2

# A shop under cgroup version 1, kernel 6.18, ceilings 250 ms of processor time and 64 MiB.
V1 = {
    "cpuacct.usage": "153620417\n",
    "cpu.stat": "nr_periods 41\nnr_throttled 12\nthrottled_time 801553302\nnr_bursts 0\nburst_time 0\n",
    "memory.usage_in_bytes": "14725120\n",
    "memory.max_usage_in_bytes": "15245312\n",
    "memory.stat": (
        "cache 6352896\nrss 6582272\nrss_huge 0\nshmem 0\nmapped_file 3108864\ninactive_file 5\n"
        "active_file 7\nhierarchical_memory_limit 67108864\ntotal_cache 6352896\ntotal_rss 6582272\n"
        "total_inactive_anon 6561792\ntotal_active_anon 16384\ntotal_inactive_file 2113536\n"
        "total_active_file 4239360\ntotal_unevictable 0\n"
    ),
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "pids.current": "2\n",
}
# The same under cgroup version 2, kernel 6.1.
V2 = {
    "cpu.stat": (
        "usage_usec 153620\nuser_usec 101000\nsystem_usec 52620\nnr_periods 41\nnr_throttled 12\n"
        "throttled_usec 801553\nnr_bursts 0\nburst_usec 0\n"
    ),
    "memory.current": "14725120\n",
    "memory.peak": "15245312\n",
    "memory.stat": "anon 6582272\nfile 6352896\nkernel 1789952\ninactive_anon 6561792\n"
    "inactive_file 2113536\nactive_file 4239360\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 3\noom_kill 3\noom_group_kill 0\n",
    "pids.current": "2\n",
}


def test_version_1_counts_the_whole_subtree_s_inactive_pages() -> None:
    assert usage_v1(V1) == Usage(153620417, 801553302, 14725120 - 2113536, 15245312, 3, 2)


def test_version_2_gives_the_same_in_nanoseconds() -> None:
    assert usage_v2(V2) == Usage(153620000, 801553000, 14725120 - 2113536, 15245312, 3, 2)


def test_a_kernel_without_a_peak_reads_as_zero() -> None:
    texts = {name: text for name, text in V2.items() if name != "memory.peak"}
    assert usage_v2(texts).memory_peak_bytes == 0


def test_more_inactive_pages_than_usage_is_no_negative_working_set() -> None:
    # The two files are read one after the other; pages may be freed in between.
    assert usage_v2({**V2, "memory.current": "4096\n"}).memory_bytes == 0


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("a 1\nb 2\n", "a", 1),
        ("a 1\nb 2\n", "b", 2),
        ("a 1\nb 2", "b", 2),
        ("total_a 9\n", "a", 0),
        ("xa 9\na 4\n", "a", 4),
        ("", "a", 0),
    ],
)
def test_a_field_is_found_by_its_whole_name(text: str, name: str, value: int) -> None:
    assert field(text, name) == value
