"""Turns this machine into a host, step by step; any step may be cut short, and all of it repeated.

Until `_use_up` the control plane has changed nothing. From there on it knows this machine by a key that
has lain in the secrets directory since before, so a repeat finds its own place again.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from controlplane.joining import offer, preflight
from controlplane.joining.errors import JoiningError, RefusedError, UnfitError, UnreachableError
from controlplane.joining.host_paths import HostPaths
from controlplane.joining.programs import Programs
from controlplane.joining.trust import JoinTokenText, TrustedDepot, check_url, meet
from installer import secret_files
from runtime.config import HostConfig, ImageAccess, host_config
from runtime.disk import loop
from runtime.disk.provide import provide
from runtime.errors import RuntimeCoreError, SpecInvalidError
from runtime.image import ImageStore
from runtime.image.fetch import Fetcher
from settings import common, hosts, inner

SEEN_WITHIN_SECONDS = 60.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator wants of this host; "" and None leave the choice to us.

    room: `cpu_millis`, `reserve_memory_bytes`, …; store_bytes: size of the store of shops' data.
    """

    place: HostPaths
    name: str = ""
    scope: str = common.SCOPE.fixed_default
    subnet: str = hosts.SUBNET.fixed_default
    ports: str = hosts.PORTS.fixed_default
    address: str = ""
    probe_port: int = hosts.PROBE_PORT.of({})
    resolver: str = ""
    store_bytes: int | None = None
    room: Mapping[str, int | None] = field(default_factory=dict)


def join(url: str, token: JoinTokenText, options: Options, *, say: Say) -> dict[str, Any]:
    """Become a host of the pool at the address; return what the pool then sees of it. Raises JoiningError.

    say: called with a sentence about the next step, and about what is not as it should be.
    """
    place = options.place
    say("looking whether the control plane is who the token says")
    depot = meet(check_url(url), token.ca_sha256)
    config = _config(depot, options)
    with place.locked():
        _check_same(place.settings(), config)
        terms = _look(depot, token, config, options, say)
        say("making the store for shops' data")
        _make_store(config, options, say)
        say(f"joining as {config.name}, reached at {config.edge_address}")
        terms = _ask(depot, token, config, options, only_check=False)
        _write_settings(depot, config, options, terms)
        _prefetch(depot, place, terms, say)
        say("starting keeper and agent")
        keeper_of = Programs(place, options.scope).start()
        say(f"they run under {keeper_of}")
        say("waiting until the control plane sees this host")
        return _wait_seen(depot, place, config.name)


def _config(depot: TrustedDepot, options: Options) -> HostConfig:
    environ = {
        hosts.HOST_NAME.name: options.name or offer.default_name(),
        common.SCOPE.name: options.scope,
        hosts.SUBNET.name: options.subnet,
        hosts.PORTS.name: options.ports,
        inner.HOST_STATE.name: str(options.place.state),
        hosts.RESOLVER.name: options.resolver,
        inner.HOST_ADDRESS.name: options.address or offer.address_towards(depot.url),
        hosts.PROBE_PORT.name: str(options.probe_port),
    }
    try:
        return host_config(environ)
    except SpecInvalidError as error:
        raise JoiningError(error.message) from error


def _check_same(kept: Mapping[str, str], config: HostConfig) -> None:
    """Refuse another name: it would be another host, and the first host's shops would belong to none."""
    name, scope = (
        kept.get(hosts.HOST_NAME.name, config.name),
        kept.get(common.SCOPE.name, config.scope),
    )
    if (name, scope) != (config.name, config.scope):
        raise JoiningError(
            f"this machine is the host {name} already (scope {scope}): leave first with"
            " `bin/stoa host leave`, or give the second host a --var, --scope and --name of its own"
        )


def _look(
    depot: TrustedDepot, token: JoinTokenText, config: HostConfig, options: Options, say: Say
) -> dict[str, Any]:
    """Both sides' reasons against it, all of them, before the token is used up."""
    say("looking whether this machine will do (doctor)")
    reasons, warnings = preflight.reasons_against(config)
    terms: dict[str, Any] = {}
    try:
        terms = _ask(depot, token, config, options, only_check=True)
    except RefusedError as error:
        reasons.append(f"control plane: {error}")
    else:
        reasons += preflight.reason_against_broker(depot, int(terms["broker_port"]))
    for warning in warnings:
        say(f"  note: {warning}")
    if reasons:
        raise UnfitError(tuple(reasons))
    return terms


def _make_store(config: HostConfig, options: Options, say: Say) -> None:
    """What the operator asked for must be; what we choose may turn out not to be possible."""
    notes: list[str] = []
    try:
        store = provide(config.state_dir, options.store_bytes, note=notes.append)
    except RuntimeCoreError as error:
        raise JoiningError(f"the store for shops' data cannot be made: {error}") from error
    if options.store_bytes and not store.is_enforced:
        raise JoiningError(f"the store for shops' data cannot be made: {'; '.join(notes)}")
    for note in notes:
        say(f"  note: {note}")


def _ask(
    depot: TrustedDepot,
    token: JoinTokenText,
    config: HostConfig,
    options: Options,
    *,
    only_check: bool,
) -> dict[str, Any]:
    machine_key, broker_password, host_token = options.place.credentials()
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    offered = offer.measure(loop.current(config.state_dir).place, options.room)
    body = {
        "key_id": token.key_id,
        "secret": token.secret,
        "machine_key": machine_key,
        "name": config.name,
        "address": str(config.edge_address),
        "first_port": config.ports.start,
        "last_port": config.ports.stop - 1,
        "probe_port": config.probe_port,
        "capacity": offered.capacity,
        "reserve": offered.reserve,
        # Of what this machine proves itself by from now on, the pool gets to know the hashes.
        "broker_sha256": hashlib.sha256(broker_password.encode()).hexdigest(),
        "token_sha256": hashlib.sha256(host_token.encode()).hexdigest(),
        "clock": time.time(),
        "only_check": only_check,
    }
    return depot.ask("POST", "join", body)


def _write_settings(
    depot: TrustedDepot, config: HostConfig, options: Options, terms: Mapping[str, Any]
) -> None:
    place = options.place
    secret_files.write(place.ca, depot.ca_pem)
    sources = [str(IPv4Network(str(network))) for network in terms["edge_sources"]]
    edges = [str(IPv4Address(str(address))) for address in terms["edge_addresses"]]
    place.write(
        place.host_env,
        {
            hosts.HOST_NAME.name: config.name,
            common.SCOPE.name: config.scope,
            hosts.SUBNET.name: str(config.subnet),
            hosts.PORTS.name: options.ports,
            inner.HOST_ADDRESS.name: str(config.edge_address),
            hosts.PROBE_PORT.name: str(config.probe_port),
            inner.HOST_STATE.name: str(place.state),
            hosts.RESOLVER.name: options.resolver,
            hosts.EDGE_SOURCES.name: ",".join(sources),
            hosts.EDGE_ADDRESSES.name: ",".join(edges),
            **_slice(options),
            hosts.STORE_BYTES.name: "" if options.store_bytes is None else str(options.store_bytes),
            inner.CONTROL_URL.name: depot.url,
            inner.CONTROL_CA.name: str(place.ca),
            inner.AGENT_TOKEN_FILE.name: str(place.token),
        },
    )
    _, password, _ = place.credentials()
    broker = f"host.{config.name}:{password}@{depot.host}:{int(terms['broker_port'])}/0"
    tls = f"ssl_cert_reqs=required&ssl_ca_certs={place.ca}"
    place.write(place.agent_env, {inner.BROKER_URL.name: f"rediss://{broker}?{tls}"})


def _slice(options: Options) -> dict[str, str]:
    """Of a part of a machine, what its own shops use is in use; of a whole one, all that runs there."""
    cpu, memory = options.room.get("cpu_millis"), options.room.get("memory_bytes")
    if not cpu or not memory:
        return {}
    return {inner.SLICE_CPU_MILLIS.name: str(cpu), inner.SLICE_MEMORY_BYTES.name: str(memory)}


def _prefetch(depot: TrustedDepot, place: HostPaths, terms: Mapping[str, Any], say: Say) -> None:
    """Have the images of current releases before the first shop comes; one that fails comes later."""
    access = ImageAccess(control_url=depot.url, control_ca=place.ca, token_file=place.token)
    fetcher = Fetcher(ImageStore(place.state / "images"), access)
    for number, image in enumerate(terms["images"], 1):
        digest, source = str(image["digest"]), str(image["source"])
        say(f"fetching image {number} of {len(terms['images'])}: {source or digest[:19] + '…'}")
        try:
            fetcher.ensure(digest, source)
        except RuntimeCoreError as error:
            say(f"  note: it will be fetched when it is needed: {error.message}")


def _wait_seen(depot: TrustedDepot, place: HostPaths, name: str) -> dict[str, Any]:
    token = secret_files.read(place.token)
    deadline = time.monotonic() + SEEN_WITHIN_SECONDS
    while True:
        seen = depot.ask("GET", f"hosts/{name}", token=token)
        if seen.get("is_heard"):
            return seen
        if time.monotonic() > deadline:
            raise UnreachableError(
                f"the host is in the record, but the control plane has not heard it within"
                f" {SEEN_WITHIN_SECONDS:.0f} s; its agent's log says why"
                f" ({place.var}/logs/host-agent.log, or journalctl -u 'stoa-*-agent'). Repeat the same"
                " command when that is mended"
            )
        time.sleep(0.5)
