"""The commands about images: look, take one from a layout or a registry, remove what nobody needs."""

import json
from argparse import Namespace
from dataclasses import replace

from runtime.cli.tables import age, short, table
from runtime.config import HostConfig
from runtime.crun.records import Records
from runtime.image import ImageRetention, ImageStore
from runtime.image.fetch import Fetcher
from runtime.image.reference import parse_reference
from runtime.units import bytes_text
from runtime.wire import to_wire


def images(config: HostConfig, arguments: Namespace) -> int:
    """List the images of this host."""
    found = _store(config).list()
    if arguments.json:
        return _print_json([to_wire(image) for image in found])
    rows = [
        (
            image.name,
            short(image.digest),
            bytes_text(image.disk_bytes),
            f"{age(image.idle_seconds)} ago",
            str(len(image.users)),
        )
        for image in found
    ]
    print(table(("NAME", "DIGEST", "SIZE", "LAST ASKED FOR", "USED BY"), rows))
    return 0


def take(config: HostConfig, arguments: Namespace) -> int:
    """Import an OCI layout into the image store and print its digest."""
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = _store(config).import_layout(arguments.layout, arguments.name)
    if arguments.json:
        return _print_json({"name": arguments.name, "digest": digest})
    print(digest)
    return 0


def pull(config: HostConfig, arguments: Namespace) -> int:
    """Fetch an image from a registry and print its digest."""
    reference = parse_reference(arguments.reference)
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    access = replace(
        config.images,
        auth_file=arguments.authfile or config.images.auth_file,
        ca_dir=arguments.ca_dir or config.images.ca_dir,
    )
    pinned = Fetcher(_store(config), access).pull(reference, arguments.name)
    if arguments.json:
        return _print_json({"reference": str(pinned), "digest": pinned.digest})
    print(pinned.digest)
    return 0


def collect(config: HostConfig, arguments: Namespace) -> int:
    """Remove the images nobody needs: no instance here, no retained release, nobody within the hour."""
    keeping = ImageRetention(config.state_dir / "images")
    records = Records(config.state_dir)
    used = {instance_id: record.spec.image_digest for instance_id, record in records.all().items()}
    used = dict.fromkeys(records.damaged(), "") | used
    gone = keeping.collect(_store(config), used, further=arguments.keep, dry_run=arguments.dry_run)
    if arguments.json:
        return _print_json(
            {"removed": [to_wire(image) for image in gone], "dry_run": arguments.dry_run}
        )
    verb = "would remove" if arguments.dry_run else "removed"
    for image in gone:
        print(f"{verb} {image.name} {short(image.digest)} {bytes_text(image.disk_bytes)}")
    total = bytes_text(sum(image.disk_bytes for image in gone))
    print(f"{verb} {len(gone)} images, {total}")
    return 0


def _store(config: HostConfig) -> ImageStore:
    return ImageStore(config.state_dir / "images")


def _print_json(value: object) -> int:
    print(json.dumps(value))
    return 0
