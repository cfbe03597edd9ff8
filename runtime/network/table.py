"""The one nftables table of a host: that it is there, its classes, and the elements of its maps."""

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address

from runtime.config import HostConfig
from runtime.errors import CommandFailedError
from runtime.network import nfnetlink, plan, rules
from runtime.network.netlink import NETLINK_NETFILTER, Message, Netlink, NetlinkError
from runtime.network.nfnetlink import Element
from runtime.network.rules import CLASSES, PUBLISHED, OutboundClass
from runtime.system.commands import run
from runtime.system.files import open_lock

_NFT_SECONDS = 20
# A socket holds about 150 acknowledgements before it has to be read.
_ELEMENTS_AT_ONCE = 80


def ensure_table(config: HostConfig, resolver: IPv4Address | None) -> bool:
    """Make the table hold this version's rules; one look-up when it does. Whether they were not there."""
    content = rules.rules(config, resolver)
    table = plan.table_of(config)
    version = rules.version_of(content)
    if _has_rules(table, version):
        return False
    with _alone(config):
        if _has_rules(table, version):
            return False
        _load(rules.table_script(table, content, chains(config), _sets(table)))
    return True


def put(config: HostConfig, elements: Sequence[Element], *, outbound: OutboundClass | None) -> None:
    """Add elements to the maps, in place of what their keys led to; outbound: the class they need, if any."""
    if len(elements) > _ELEMENTS_AT_ONCE:
        for at in range(0, len(elements), _ELEMENTS_AT_ONCE):
            put(config, elements[at : at + _ELEMENTS_AT_ONCE], outbound=outbound)
        return
    try:
        _batch([nfnetlink.add_element(plan.table_of(config), element) for element in elements])
    except NetlinkError as error:
        if error.errno == errno.ENOENT and outbound:
            ensure_class(config, outbound)
        elif error.errno != errno.EEXIST:
            raise
        for element in elements:
            _replace(config, element)


def take(config: HostConfig, elements: Sequence[Element]) -> None:
    """Remove elements from the maps; ignores those that are not in it, and a missing table.

    The kernel waits some milliseconds before it forgets anything, once for each batch; and it refuses a
    whole batch for one element that is missing. So it is asked first, which costs next to nothing.
    """
    table = plan.table_of(config)
    for at in range(0, len(elements), _ELEMENTS_AT_ONCE):
        present = _present(table, elements[at : at + _ELEMENTS_AT_ONCE])
        try:
            _batch([nfnetlink.delete_element(table, element) for element in present])
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            for element in present:  # somebody else has just taken one of them
                _batch([nfnetlink.delete_element(table, element)], fine=frozenset({errno.ENOENT}))


def ensure_class(config: HostConfig, outbound: OutboundClass) -> None:
    """Make a class be there."""
    table = plan.table_of(config)
    with _alone(config):
        if not _has_rules(table, outbound.chain):
            _load(rules.class_script(table, outbound))


def drop_idle_classes(config: HostConfig) -> None:
    """Remove the classes that no address is led to any more."""
    used = set(classes(config).values())
    for name in chains(config):
        outbound = OutboundClass.named(name)
        if outbound and name not in used:
            with _alone(config):
                try:
                    _load(rules.class_removal(plan.table_of(config), outbound))
                except CommandFailedError:
                    continue  # an address has been led to it in this moment


def published(config: HostConfig) -> dict[int, tuple[IPv4Address, int]]:
    """Return where each published port leads: port → (container address, container port)."""
    return nfnetlink.parse_leading(_elements(config, PUBLISHED))


def classes(config: HostConfig) -> dict[IPv4Address, str | None]:
    """Return the class each container's address is led to, by its chain; None: it may open nothing."""
    return nfnetlink.parse_judged(_elements(config, CLASSES))


def chains(config: HostConfig) -> list[str]:
    """Names of the table's chains; [] when there is no table."""
    with Netlink(NETLINK_NETFILTER) as filters:
        found = filters.ask(nfnetlink.list_chains())
    return nfnetlink.parse_chains([body for _kind, body in found], plan.table_of(config))


def generation() -> int:
    """Return a number that every change of any table of this machine raises."""
    with Netlink(NETLINK_NETFILTER) as filters:
        [(_kind, body)] = filters.ask(nfnetlink.get_generation())
    return nfnetlink.parse_generation(body)


def handle(config: HostConfig) -> int | None:
    """Return a number that only this table has, another one after it was made anew; None when there
    is none.
    """
    with Netlink(NETLINK_NETFILTER) as filters:
        found = filters.ask(nfnetlink.get_table(plan.table_of(config)))
    return nfnetlink.parse_table_handle(found[0][1]) if found else None


def delete(config: HostConfig) -> None:
    """Delete the table; no-op if there is none."""
    _batch([nfnetlink.delete_table(plan.table_of(config))], fine=frozenset({errno.ENOENT}))


def _present(table: str, elements: Sequence[Element]) -> list[Element]:
    with Netlink(NETLINK_NETFILTER) as filters:
        return [
            element for element in elements if filters.ask(nfnetlink.get_element(table, element))
        ]


def _replace(config: HostConfig, element: Element) -> None:
    table = plan.table_of(config)
    add = nfnetlink.add_element(table, element)
    try:
        _batch([add])
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        _batch([nfnetlink.delete_element(table, element), add])


def _elements(config: HostConfig, map_name: str) -> list[bytes]:
    with Netlink(NETLINK_NETFILTER) as filters:
        found = filters.ask(nfnetlink.list_elements(plan.table_of(config), map_name))
    return [body for _kind, body in found]


def _sets(table: str) -> list[str]:
    with Netlink(NETLINK_NETFILTER) as filters:
        return nfnetlink.parse_sets([body for _, body in filters.ask(nfnetlink.list_sets(table))])


def _has_rules(table: str, chain: str) -> bool:
    with Netlink(NETLINK_NETFILTER) as filters:
        found = filters.ask(nfnetlink.get_chain(table, chain))
    return bool(found) and nfnetlink.parse_chain_use(found[0][1]) > 0


def _batch(messages: list[Message], *, fine: frozenset[int] = frozenset()) -> None:
    if not messages:
        return
    with Netlink(NETLINK_NETFILTER) as filters:
        filters.send_framed(
            messages, before=[nfnetlink.begin()], after=[nfnetlink.end()], fine=fine
        )


def _load(script: str) -> None:
    run("nft", "-f", "-", timeout=_NFT_SECONDS, stdin=script.encode())


@contextmanager
def _alone(config: HostConfig) -> Iterator[None]:
    """Let one process at a time change rules: two that find them missing would both add them."""
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = open_lock(config.state_dir / "network.lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
