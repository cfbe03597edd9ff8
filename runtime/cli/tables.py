"""Ages, states and tables as people read them; all pure."""

from collections.abc import Sequence

from runtime.statuses import ContainerState, InstanceStatus, TroubleKind


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, two spaces apart at least, without blanks at the ends of lines."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def age(seconds: float) -> str:
    """Return a rough age: 5 seconds, 3 minutes, 2 hours, 4 days."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {unit}{'s' if number != 1 else ''}"
    number = int(seconds)
    return f"{number} second{'s' if number != 1 else ''}"


def state(status: InstanceStatus) -> str:
    """Return the state as `ps` shows it: Up 3 minutes (healthy), Exited (137) 2 hours ago, Starting; and
    what is wrong.
    """
    if status.state is ContainerState.RUNNING:
        words = ["healthy" if status.healthy else "unhealthy"]
        words += [trouble.kind.value.replace("_", " ") for trouble in status.troubles]
        return f"Up {age(status.age_seconds)} ({', '.join(words)})"
    if any(trouble.kind is TroubleKind.DAMAGED for trouble in status.troubles):
        return "Damaged"
    if status.state is ContainerState.EXITED:
        if status.exit_code is None:
            return "Stopped"
        again = ", starting again" if status.crash_looping else ""
        return f"Exited ({status.exit_code}) {age(status.age_seconds)} ago{again}"
    return status.state.value.capitalize()


def short(digest: str) -> str:
    """Return the first twelve digits of a digest, as Docker shows them."""
    return digest.removeprefix("sha256:")[:12]
