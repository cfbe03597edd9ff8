"""`manage.py bootstrap`: fills an empty database so that a sign-up can succeed. Idempotent.

It writes plans, apps and releases, this machine as a host and an edge, an operator's login and an API
token.
"""

import argparse
import os
import re
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from controlplane import machine
from controlplane.depot import image_blobs
from installer import secret_files
from runtime.config import host_config
from runtime.errors import SpecInvalidError
from runtime.units import MIB
from settings import edges, hosts
from settings.setting import SettingError
from tenants.accounts import members, tokens
from tenants.accounts.models import Member
from tenants.catalogue import images, releases
from tenants.catalogue.releases import ReleaseConfig
from tenants.errors import TenantsError
from tenants.pool import registration
from workers.broker.users import apply_broker_users

OPERATOR_EMAIL = "operator@localhost"
_IMAGE = re.compile(r"([a-z0-9][a-z0-9-]{0,39})=(sha256:[0-9a-f]{64})")
_APP_NAMES = {"shop": "Shop", "hello": "Hello"}
# Seen of one run of our own example: Python with http.server. Images of others begin at the limit.
_HELLO_PRIOR = (10, 16 * MIB)


class Command(BaseCommand):
    """Creates or corrects each part; leaves a part alone when it is right."""

    help = (
        "Fill the record: plans, releases, this machine as host and edge, an operator. Repeatable."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Amounts that are not given are measured on this machine."""
        parser.add_argument(
            "--image",
            action="append",
            default=[],
            type=_image,
            metavar="NAME=sha256:…",
            help="an app and its image; a digest that changed becomes the app's next release",
        )
        parser.add_argument(
            "--layout",
            action="append",
            default=[],
            type=Path,
            metavar="DIR",
            help="an OCI layout that hosts may fetch from here, by its digest",
        )
        for name, meaning in machine.AMOUNTS.items():
            parser.add_argument(f"--host-{name}", type=int, metavar="N", help=f"offered {meaning}")
            parser.add_argument(f"--reserve-{name}", type=int, metavar="N", help=f"kept {meaning}")
        parser.add_argument(
            "--host-name",
            default="",
            metavar="NAME",
            help="only take a further host of this machine into the record; it needs --host-address",
        )
        parser.add_argument("--host-ports", default="", metavar="N-N", help="default: STOA_PORTS")
        parser.add_argument("--host-address", default="", help="default: first of STOA_SUBNET")
        parser.add_argument("--check-url", default="", help="default: STOA_HTTP_PORT on loopback")
        parser.add_argument("--prior-memory-bytes", type=int, default=9 * MIB, metavar="N")
        parser.add_argument("--prior-cpu-millis", type=float, default=1.0, metavar="N")
        parser.add_argument("--operator-email", default=OPERATOR_EMAIL)

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one line per part. Raises CommandError that names what is wrong and the remedy."""
        try:
            if options["host_name"]:
                self._host(options)
                self._broker_users()
                return
            releases.ensure_plans()
            self._shelve(options["layout"])
            for name, digest in options["image"]:
                self._release(name, digest, options)
            self._host(options)
            self._edge(options)
            self._broker_users()
            self._operator(options["operator_email"])
        except (TenantsError, SpecInvalidError, SettingError) as error:
            raise CommandError(str(error)) from error

    def _shelve(self, layouts: list[Path]) -> None:
        images_dir = Path(settings.STOA_IMAGES)
        for layout in layouts:
            digest = image_blobs.put(images_dir, layout)
            self.stdout.write(f"image {digest[:19]}…: hosts can fetch it from here")
        image_blobs.tidy(images_dir, images.to_keep())

    def _release(self, name: str, digest: str, options: dict[str, Any]) -> None:
        is_shop = name == releases.SHOP
        priors = {
            releases.SHOP: (options["prior_cpu_millis"], options["prior_memory_bytes"]),
            "hello": _HELLO_PRIOR,
        }
        prior_cpu_millis, prior_memory_bytes = priors.get(name, (None, None))
        release = releases.ensure_release(
            name,
            _APP_NAMES.get(name, name),
            ReleaseConfig(
                image_name=name,
                image_digest=digest,
                # Only the shop promises a health path and data; any image answers at "/" or not.
                health_path="/healthz" if is_shop else "",
                has_volume=is_shop,
                prior_cpu_millis=prior_cpu_millis,
                prior_memory_bytes=prior_memory_bytes,
            ),
        )
        self.stdout.write(f"app {name}: release {release.number} is {digest[:19]}…")

    def _host(self, options: dict[str, Any]) -> None:
        saved = {
            hosts.HOST_NAME.name: options["host_name"],
            hosts.PORTS.name: options["host_ports"],
        }
        config = host_config(os.environ | {key: value for key, value in saved.items() if value})
        if registration.was_removed(config.name):
            self.stdout.write(f"host {config.name}: was removed from the pool, and stays so")
            return
        # What an operator has set stays, unless the command line says otherwise.
        kept = registration.room_of(config.name)
        if options["host_disk_bytes"] is not None:
            kept.pop("reserve_disk_bytes", None)  # kept back of another disk than this
        wanted = kept | {key: value for key, value in options.items() if value is not None}
        capacity, reserve = machine.room(Path(settings.STOA_VAR), wanted)
        host = registration.ensure_host(
            config.name,
            address=options["host_address"] or str(config.address),
            ports=config.ports,
            secrets=_agent_secrets(f"host-{config.name}"),
            capacity=capacity,
            reserve=reserve,
        )
        self.stdout.write(
            f"host {host.name}: {host.address}, offers {capacity.cpu_millis} millis of processor, "
            f"{capacity.memory_bytes // MIB} MiB of memory, {capacity.disk_bytes // MIB} MiB of disk"
        )

    def _edge(self, options: dict[str, Any]) -> None:
        name = edges.NAME.of(os.environ)
        edge = registration.ensure_edge(
            name,
            check_url=options["check_url"] or f"http://127.0.0.1:{settings.STOA_HTTP_PORT}",
            secrets=_agent_secrets(f"edge-{name}"),
        )
        self.stdout.write(f"edge {edge.name}: checked at {edge.check_url}")

    def _broker_users(self) -> None:
        # Beat does it too, but agents that start now would wait for its turn.
        try:
            apply_broker_users()
        except redis.RedisError as error:
            self.stderr.write(f"the broker cannot be reached; beat will tell it of agents: {error}")

    def _operator(self, email: str) -> None:
        login = Path(settings.STOA_VAR) / "operator-login"
        if not Member.objects.filter(is_operator=True).exists():
            password = members.new_password()
            members.create_operator(email, password)
            secret_files.write(
                login,
                f"address: {settings.STOA_CONSOLE_URL}/operator/\n"
                f"email: {email}\npassword: {password}\n",
            )
            self.stdout.write(f"operator {email}: password in {login}")
        token_file = Path(settings.STOA_VAR) / "operator-token"
        kept = tokens.find(secret_files.read(token_file))
        if kept is None or not kept.is_operator:
            token = tokens.create("bootstrap", is_operator=True)
            secret_files.write(token_file, token.text + "\n")
            self.stdout.write(f"operator token: {token_file}")


def _agent_secrets(prefix: str) -> registration.AgentSecrets:
    folder = Path(settings.STOA_SECRETS_DIR)
    return registration.AgentSecrets(
        broker_sha256=tokens.sha256(secret_files.ensure(folder / f"{prefix}-broker")),
        token_sha256=tokens.sha256(secret_files.ensure(folder / f"{prefix}-token")),
    )


def _image(text: str) -> tuple[str, str]:
    matched = _IMAGE.fullmatch(text)
    if matched is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be NAME=sha256:<64 hexadecimal digits>, as images/build prints them"
        )
    return matched[1], matched[2]
