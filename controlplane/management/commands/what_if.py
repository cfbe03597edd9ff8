"""`manage.py what_if`: shows where shops would be placed if the pool were different. Writes nothing."""

import json
from dataclasses import asdict

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.errors import FieldError
from workers.scheduler import Resources
from workers.usage.forecast import WhatIf, WhatIfResult, what_if

_GIB = 1024**3


class Command(BaseCommand):
    """manage.py what_if --add-tenants 500 --plan starter --remove-host one --host-size 16,64,500"""

    help = "Place so many new tenants, or what is on hosts that would be gone, on paper."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments that say what is different."""
        parser.add_argument("--add-tenants", type=int, default=0, metavar="N")
        parser.add_argument("--plan", default="", metavar="SLUG", help="of the new tenants")
        parser.add_argument(
            "--remove-host", action="append", default=[], metavar="NAME", help="may be repeated"
        )
        parser.add_argument(
            "--host-size",
            default="",
            metavar="CORES,GIB,GIB",
            help="of hosts to be added: cores, memory and storage they offer; else the usual size",
        )
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, *args: object, **options: object) -> None:
        """Run the question and print the answer."""
        change = WhatIf(
            add_tenants=int(str(options["add_tenants"])),
            plan=str(options["plan"]),
            remove_hosts=tuple(map(str, options["remove_host"])),  # type: ignore[call-overload]
            host_size=_size(str(options["host_size"])),
        )
        if not change.add_tenants and not change.remove_hosts:
            raise CommandError("nothing would be different: say --add-tenants or --remove-host")
        try:
            answer = what_if(change)
        except FieldError as error:
            raise CommandError(
                f"--{(error.field or '').replace('_', '-')}: {error.message}"
            ) from error
        if options["json"]:
            self.stdout.write(json.dumps(asdict(answer) | {"has_room": answer.has_room}, indent=2))
        else:
            self.stdout.write("\n".join(_lines(answer)))


def _size(text: str) -> Resources | None:
    if not text:
        return None
    try:
        cores, memory, disk = (float(part) for part in text.split(","))
    except ValueError:
        cores = memory = disk = 0.0
    if min(cores, memory, disk) <= 0:
        raise CommandError(
            f"--host-size is {text[:40]!r}; it must be cores, GiB of memory and GiB of storage, "
            "for example 16,64,500"
        )
    return Resources(round(cores * 1000), round(memory * _GIB), round(disk * _GIB))


def _lines(answer: WhatIfResult) -> list[str]:
    lines = [f"{answer.placed:,} of {answer.asked:,} instances have room on the hosts there are."]
    if answer.is_unseen:
        lines.append("No host can be seen just now; that says nothing about room.")
    elif not answer.has_room:
        size = answer.host_size
        words = (
            f"{size.cpu_millis / 1000:g} cores, {size.memory_bytes / _GIB:.0f} GiB of memory "
            f"and {size.disk_bytes / _GIB:.0f} GiB of storage"
        )
        lines.append(
            f"The others would fill {answer.new_hosts} more hosts that offer {words}."
            if answer.new_hosts
            else f"A host that offers {words} cannot hold one of them."
        )
        lines += [f"  {refusal}" for refusal in answer.refusals]
    for name, (before, after) in answer.full.items():
        lines.append(f"{name:<10} {before:6.1%} of what may be planned with, then {after:6.1%}")
    lines.append(f"hosts in use: {answer.used_hosts[0]:,}, then {answer.used_hosts[1]:,}")
    return lines
