"""`manage.py create_release APP IMAGE`: creates the app's next release, which always means one image."""

import os
import re
from argparse import BooleanOptionalAction
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from controlplane.depot import image_blobs
from runtime.config import host_config
from runtime.errors import RuntimeCoreError, SpecInvalidError
from runtime.image.config import declared_volumes
from runtime.image.layout import open_image
from runtime.image.reference import parse_reference
from runtime.image.registry import Registry
from runtime.units import MIB
from tenants.catalogue import releases
from tenants.catalogue.releases import ReleaseConfig
from tenants.errors import TenantsError
from workers.reconcilers import images as fleet_images

_APP = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Command(BaseCommand):
    """Creates a release. A tag is resolved once, here; a later change of the tag changes no release."""

    help = "Register an image as an app's next release. No-op if it already is the newest."

    def add_arguments(self, parser: CommandParser) -> None:
        """The image, and how it is run."""
        parser.add_argument("app", metavar="APP", help="the app's slug; a new one is made")
        parser.add_argument(
            "image",
            metavar="IMAGE",
            help="REGISTRY/NAME[:TAG][@sha256:…], which hosts pull themselves; an OCI layout directory,"
            " or sha256:… of an image that was such, which hosts fetch from here",
        )
        parser.add_argument("--app-name", default="", help="what people call a new app")
        parser.add_argument("--port", type=int, default=8000, help="where it listens (8000)")
        parser.add_argument(
            "--health-path", default="", help='must answer 200; "" for the port alone'
        )
        parser.add_argument(
            "--volume",
            action=BooleanOptionalAction,
            help="give each tenant a volume at /data, where the directories that the image declares"
            " (VOLUME) are kept too; without either, where the image declares one",
        )
        parser.add_argument(
            "--read-only", action="store_true", help="only /tmp and the volume can be written to"
        )
        parser.add_argument("--memory-mib", type=int, help="measured memory of a new instance")
        parser.add_argument(
            "--cpu-millis",
            type=float,
            help="processor a cold one was seen to use; without it the first ones are measured within a"
            " minute, and booked at a fiftieth of their plan's until then",
        )
        parser.add_argument(
            "--prefetch", action="store_true", help="let every reporting host fetch the image now"
        )
        parser.add_argument("--authfile", type=Path, help="logins (STOA_REGISTRY_AUTH_FILE)")
        parser.add_argument("--ca-dir", type=Path, help="*.crt to trust (STOA_REGISTRY_CA_DIR)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the release. Raises CommandError that names what is wrong and the remedy."""
        app = options["app"]
        if not _APP.fullmatch(app):
            raise CommandError(f"APP is {app!r}; it must be 1 to 40 of a-z, 0-9 and -")
        if not 1 <= options["port"] <= 65535:
            raise CommandError(f"--port is {options['port']}; it must be 1 to 65535")
        if options["health_path"] and not options["health_path"].startswith("/"):
            raise CommandError(f"--health-path is {options['health_path']!r}; it must start with /")
        memory = options["memory_mib"]
        try:
            found = _image(options)
            has_volume = options["volume"]
            if has_volume is None:
                has_volume = found.wants_volume
            release = releases.ensure_release(
                app,
                options["app_name"] or app,
                ReleaseConfig(
                    image_name=found.name[:120],
                    image_digest=found.digest,
                    image_source=found.source,
                    container_port=options["port"],
                    health_path=options["health_path"],
                    has_volume=has_volume,
                    writable_root=not options["read_only"],
                    prior_memory_bytes=None if memory is None else memory * MIB,
                    prior_cpu_millis=options["cpu_millis"],
                ),
            )
        except (TenantsError, RuntimeCoreError) as error:
            raise CommandError(str(error)) from error
        for path in found.declared:
            self.stdout.write(
                f"VOLUME {path} is kept in each tenant's volume"
                if has_volume
                else f"warning: the image declares VOLUME {path}; what is written there is in no copy and"
                " is lost with a move or a restore: leave --no-volume out"
            )
        place = f"from {found.source}" if found.source else "from the control plane"
        self.stdout.write(f"app {app}: release {release.number} is {found.digest}, {place}")
        if options["prefetch"]:
            for host, trouble in fleet_images.prefetch(found.digest, found.source).items():
                self.stdout.write(f"host {host}: {trouble or 'has the image'}")


@dataclass(frozen=True)
class _Found:
    """The image that was given. declared: directories that it wants kept, besides /data."""

    digest: str
    source: str
    name: str
    declared: tuple[str, ...]
    wants_volume: bool


def _image(options: dict[str, Any]) -> _Found:
    given, images = options["image"], Path(settings.STOA_IMAGES)
    if _DIGEST.fullmatch(given):
        if not image_blobs.has(images, given):
            raise SpecInvalidError(
                f"{given} is not in {images}; give its OCI layout directory once", field="image"
            )
        return _shelved(images, given, options["app"])
    if Path(given).is_dir():
        return _shelved(images, image_blobs.put(images, Path(given)), options["app"])
    reference = parse_reference(given)
    access = host_config(os.environ).images
    registry = Registry(
        replace(
            access,
            auth_file=options["authfile"] or access.auth_file,
            ca_dir=options["ca_dir"] or access.ca_dir,
        )
    )
    found = registry.resolve(reference)
    source = str(found.reference)
    if len(source) > releases.LONGEST_SOURCE:
        raise SpecInvalidError(
            f"{source[:80]}… has {len(source)} characters; at most {releases.LONGEST_SOURCE} are kept",
            field="image_source",
        )
    return _image_of(found.digest, source, str(reference).partition("@")[0], registry.config(found))


def _shelved(images: Path, digest: str, name: str) -> _Found:
    image = open_image(images / digest.removeprefix("sha256:"), digest)
    return _image_of(digest, "", name, image.config)


def _image_of(digest: str, source: str, name: str, config: Mapping[str, object]) -> _Found:
    return _Found(digest, source, name, declared_volumes(config), bool(config.get("Volumes")))
