"""The limit on what a container may send: a token bucket on its own end of the veth pair.

There it slows the sender down instead of dropping what he sent: a full queue blocks his sockets. Taking
it away needs CAP_NET_ADMIN in the container's network namespace, which no process inside ever has.
Constants are those of linux/pkt_sched.h.
"""

import struct

from runtime.network.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Message,
    attribute,
    nested,
    text,
)
from runtime.units import KIB, MIB

RTM_NEWQDISC, RTM_DELQDISC = 36, 37
TCA_KIND, TCA_OPTIONS = 1, 2
TCA_TBF_PARMS, TCA_TBF_RATE64, TCA_TBF_BURST = 1, 4, 6
TC_H_ROOT = 0xFFFFFFFF
_HANDLE = 0x53540000
_LINKLAYER_ETHERNET = 1
_LARGEST_RATE = 0xFFFFFFFF

_QDISC = struct.Struct("=BxxxiIII")
_RATE = struct.Struct("=BBHhHI")
_LIMITS = struct.Struct("=III")


def put_limit(index: int, bytes_per_second: int) -> Message:
    """Let an interface send at most so much; changes a limit that is there without losing a packet."""
    options = nested(
        TCA_OPTIONS,
        attribute(TCA_TBF_PARMS, _parameters(bytes_per_second)),
        attribute(TCA_TBF_RATE64, struct.pack("=Q", bytes_per_second)),
        attribute(TCA_TBF_BURST, struct.pack("=I", burst_bytes(bytes_per_second))),
    )
    body = _QDISC.pack(0, index, _HANDLE, TC_H_ROOT, 0) + text(TCA_KIND, "tbf") + options
    return Message(
        RTM_NEWQDISC,
        NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
        body,
        f"let interface {index} send {bytes_per_second} bytes a second",
    )


def drop_limit(index: int) -> Message:
    """Let an interface send what it can; the kernel says ENOENT when it already may."""
    body = _QDISC.pack(0, index, _HANDLE, TC_H_ROOT, 0)
    return Message(RTM_DELQDISC, NLM_F_ACK, body, f"let interface {index} send what it can")


def burst_bytes(bytes_per_second: int) -> int:
    """Return the bytes that may go out at once after a pause: an eighth of a second's worth, within 16 KiB
    and 1 MiB.
    """
    return min(max(bytes_per_second // 8, 16 * KIB), MIB)


def queue_bytes(bytes_per_second: int) -> int:
    """Return the bytes that may wait: a fifth of a second's worth, at least two packets of the largest kind
    (64 KiB).
    """
    return min(max(bytes_per_second // 5, 128 * KIB), 4 * MIB)


def _parameters(bytes_per_second: int) -> bytes:
    """struct tc_tbf_qopt; the rate in full and the burst in bytes come as attributes of their own."""
    rate = _RATE.pack(0, _LINKLAYER_ETHERNET, 0, 0, 0, min(bytes_per_second, _LARGEST_RATE))
    no_peak = _RATE.pack(0, 0, 0, 0, 0, 0)
    return rate + no_peak + _LIMITS.pack(queue_bytes(bytes_per_second), 0, 0)
