"""Accounting files of both cgroup versions, as recorded from real kernels."""

import pytest

from runtime.cgroup.readings import (
    CgroupReading,
    field,
    io_v1,
    io_v2,
    stall_micros,
    stands_still,
    usage_v1,
    usage_v2,
)

# A shop under cgroup version 1, kernel 6.18, limits 250 ms of processor time and 64 MiB.
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
    "blkio.throttle.io_service_bytes_recursive": (
        "7:0 Read 450560\n7:0 Write 73728\n7:0 Sync 73728\n7:0 Async 450560\n7:0 Discard 0\n"
        "7:0 Total 524288\n254:0 Read 4907008\n254:0 Write 69632\n254:0 Sync 69632\n"
        "254:0 Async 4907008\n254:0 Discard 0\n254:0 Total 4976640\nTotal 5500928\n"
    ),
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
    "io.stat": (
        "254:0 rbytes=4907008 wbytes=69632 rios=142 wios=17 dbytes=0 dios=0\n"
        "7:0 rbytes=450560 wbytes=73728 rios=21 wios=18 dbytes=0 dios=0\n253:0 \n"
    ),
    "cpu.pressure": (
        "some avg10=0.41 avg60=0.12 avg300=0.03 total=91820\n"
        "full avg10=0.41 avg60=0.12 avg300=0.03 total=88114\n"
    ),
    "memory.pressure": (
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1377\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=1202\n"
    ),
    "io.pressure": (
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=20411\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=19877\n"
    ),
}
# A shop that has done nothing yet, Ubuntu 20.04 (kernel 5.4, version 2 without memory.peak, pressure off).
V2_OLD = {
    "cpu.stat": "usage_usec 2210\nuser_usec 1105\nsystem_usec 1105\n",
    "memory.current": "823296\n",
    "memory.stat": "anon 405504\nfile 270336\nkernel_stack 36864\ninactive_file 135168\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
    "pids.current": "1\n",
    "io.stat": "",
    "cpu.pressure": "",
}


def test_version_1_counts_the_whole_subtree_s_inactive_pages() -> None:
    memory = 14725120 - 2113536
    expected = CgroupReading(153620417, 801553302, memory, 15245312, 3, 2, 4907008, 73728)
    assert usage_v1(V1) == expected


def test_version_2_gives_the_same_in_nanoseconds_and_the_pressure() -> None:
    memory = 14725120 - 2113536
    assert usage_v2(V2) == CgroupReading(
        153620000, 801553000, memory, 15245312, 3, 2, 4907008, 73728, 91820, 1377, 20411
    )


def test_an_old_kernel_of_version_2_leaves_open_what_it_does_not_keep() -> None:
    found = usage_v2(V2_OLD)
    assert found == CgroupReading(2210000, 0, 823296 - 135168, 0, 0, 1, 0, 0, None, None, None)


def test_a_cgroup_that_never_touched_a_disk_has_read_and_written_nothing() -> None:
    assert io_v1("Total 0\n") == io_v1("") == io_v2("") == io_v2("254:0 \n") == (0, 0)


def test_what_a_loop_device_does_is_not_counted_again_on_the_disk_below() -> None:
    both = "7:0 Read 100\n7:0 Write 900\n254:0 Read 150\n254:0 Write 40\nTotal 1190\n"
    assert io_v1(both) == (150, 900)
    two_disks = "8:0 rbytes=1 wbytes=2 rios=1 wios=1\n8:16 rbytes=10 wbytes=20 rios=1 wios=1\n"
    assert io_v2(two_disks) == (11, 22)


def test_pressure_that_is_not_measured_is_none_and_not_zero() -> None:
    assert stall_micros("") is None
    assert stall_micros("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n") == 0


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


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("FROZEN\n", True),
        ("FREEZING\n", False),
        ("THAWED\n", False),
        ("populated 1\nfrozen 1\n", True),
        ("populated 1\nfrozen 0\n", False),
        ("", False),
    ],
)
def test_a_cgroup_stands_still_when_either_version_says_so(text: str, is_so: bool) -> None:
    assert stands_still(text) is is_so
