"""Brings back what somebody took out of the table of a running host: ports, classes, rules.

`nft flush ruleset` is one command away for every administrator and part of many firewalls' restart.
"""

from collections import defaultdict
from collections.abc import Iterable

from runtime.config import HostConfig
from runtime.network import nfnetlink, plan, table
from runtime.network.container import Endpoint, elements_of
from runtime.network.counting import counters
from runtime.network.host import ensure_host
from runtime.network.rules import CLASSES, PUBLISHED, OutboundClass


def repair(config: HostConfig, wanted: Iterable[Endpoint]) -> tuple[str, ...]:
    """Make rules, published ports and classes be those of the endpoints that are attached here.

    wanted: every endpoint of this host, attached or not. Returns what was mended, a sentence each, ()
    when all was well. What no attached container needs is taken away. Raises HostError.
    """
    mended = ["the rules were gone"] if ensure_host(config) else []
    leading, judged = table.published(config), table.classes(config)
    attached = set(counters(config))
    known = {endpoint.published_port: endpoint for endpoint in wanted}
    missing: dict[OutboundClass | None, list[Endpoint]] = defaultdict(list)
    for port in known.keys() & attached:
        right = elements_of(config, known[port])
        address = plan.address_for(config, port)
        outbound = OutboundClass.of(known[port].ceilings, internet=known[port].internet)
        held = (
            nfnetlink.judged(CLASSES, address, judged.get(address, "")),
            nfnetlink.leading(PUBLISHED, port, *leading.get(port, (address, 0))),
        )
        if held != right:
            missing[outbound].append(known[port])
    for outbound, endpoints in missing.items():
        if outbound:
            table.ensure_class(config, outbound)
        elements = [element for each in endpoints for element in elements_of(config, each)]
        table.put(config, elements, outbound=outbound)
    if amount := sum(map(len, missing.values())):
        mended.append(f"{amount} published ports or classes were missing or wrong")
    # What is known but not attached is about to be started again, and may be at this moment.
    strange = leading.keys() - known.keys() - attached
    stale = [nfnetlink.leading(PUBLISHED, port, *leading[port]) for port in strange]
    kept = {plan.address_for(config, port) for port in known.keys() | attached}
    stale += [nfnetlink.judged(CLASSES, address, None) for address in judged.keys() - kept]
    table.take(config, stale)
    if stale:
        mended.append(f"{len(stale)} published ports or classes had no target")
    table.drop_idle_classes(config)
    return tuple(mended)
