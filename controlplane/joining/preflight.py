"""Checks whether this machine can be a host, before its token is used up; reports all reasons at once."""

import os
import socket
import ssl
from collections.abc import Iterator

from controlplane.joining.trust import SECONDS, TrustedDepot, believing
from runtime import doctor
from runtime.config import HostConfig
from runtime.network.firewalls import why_not_here


def reasons_against(config: HostConfig) -> tuple[list[str], list[str]]:
    """Why this machine cannot be a host, and what else is not as it should be; both with remedies."""
    if os.geteuid() != 0:
        return ["a host makes namespaces, mounts and cgroups: run this as root (sudo)"], []
    findings = doctor.check(config)
    fails = [_sentence(finding) for finding in findings if finding.state is doctor.CheckState.FAIL]
    # Disk limits are a join's own work, a step later.
    warns = [
        _sentence(finding)
        for finding in findings
        if finding.state is doctor.CheckState.WARN and finding.name != "disk limits"
    ]
    return [*fails, *_address(config)], warns


def reason_against_broker(depot: TrustedDepot, port: int) -> list[str]:
    """Return whether calls could reach this machine: the broker must answer, over TLS by the same CA."""
    try:
        with (
            socket.create_connection((depot.host, port), SECONDS) as plain,
            believing(depot.ca_pem).wrap_socket(plain, server_hostname=depot.host),
        ):
            return []
    except ssl.SSLCertVerificationError as error:
        return [f"broker: {depot.host}:{port} has another certificate: {error.verify_message}"]
    except OSError as error:
        return [
            f"broker: {depot.host}:{port} does not answer ({error}) → let this machine reach that port"
        ]


def _address(config: HostConfig) -> Iterator[str]:
    """Published ports live at this address, so it has to be this machine's own."""
    if why := why_not_here(config.edge_address):
        yield (
            f"address: no interface of this machine has {config.edge_address} ({why})"
            " → give one that edges reach it by: --address"
        )


def _sentence(finding: doctor.Finding) -> str:
    remedy = f" → {finding.remedy}" if finding.remedy else ""
    return f"{finding.name}: {finding.found}{remedy}"
