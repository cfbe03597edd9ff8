"""What can go wrong on a host, and whether repeating can help.

RuntimeCoreError
├── InputError            the caller asked for something impossible; repeating cannot help
│   ├── SpecInvalidError      a field of a spec is wrong (names field, value, remedy)
│   ├── StaleFenceError       a newer fence has been seen for this instance
│   └── ImageUnknownError     this host does not hold the image and does not know its source
├── AppError              the tenant's own program failed; repeating may help, the host is well
│   ├── UnhealthyError        started but the health path did not answer 200 in time
│   ├── ExitedError           the program ended (carries exit code and last log lines)
│   └── LimitInUseError     it uses more memory right now than it is to be allowed
└── HostError             the machine failed; repeating, here or elsewhere, may help
    ├── CommandFailedError    a program we called failed or ran out of time
    ├── RecordDamagedError    what this host kept of an instance cannot be understood
    ├── HostUnfitError        the kernel or a package lacks something (doctor says what)
    ├── ImageUnavailableError the source of an image did not give it, or not as it should be
    ├── DataMissingError      the volume that the shop has is not there, or is not what it was
    ├── TransferFailedError   a volume's archive could not be put or fetched as it should be
    ├── ArchiveDamagedError   a volume's archive came whole, and the state it stands for cannot be made of it
    ├── HostUnreachableError  nobody accepted the call in time
    │   ├── HostBusyError         as many calls are in flight to it as it takes: it was not asked
    │   └── HostOutdatedError     its agent is older than what was asked of it, and did nothing
    └── OutcomeUnknownError   accepted, but the answer did not come: look before you repeat
"""


class RuntimeCoreError(Exception):
    """Root of everything a driver may raise. `code` travels in answers and is stable."""

    code = "runtime"
    may_repeat = False

    def __init__(self, message: str, /, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InputError(RuntimeCoreError):
    """The caller asked for something impossible."""

    code = "input"


class SpecInvalidError(InputError):
    """A field of a spec is wrong."""

    code = "spec_invalid"


class StaleFenceError(InputError):
    """A newer fence has been seen for this instance; this caller's lease is over."""

    code = "stale_fence"


class ImageUnknownError(InputError):
    """This host does not hold the image."""

    code = "image_unknown"


class AppError(RuntimeCoreError):
    """The tenant's own program failed."""

    code = "app"
    may_repeat = True


class UnhealthyError(AppError):
    """The container runs but its health path did not answer 200 in time."""

    code = "unhealthy"


class ExitedError(AppError):
    """The program ended by itself; details hold exit_code and log_lines."""

    code = "exited"


class LimitInUseError(AppError):
    """The container uses more memory right now than it is to be allowed; nothing was changed."""

    code = "ceiling_in_use"


class HostError(RuntimeCoreError):
    """The machine failed."""

    code = "host"
    may_repeat = True


class CommandFailedError(HostError):
    """A program we called failed or ran out of time."""

    code = "command_failed"


class RecordDamagedError(HostError):
    """What this host kept of an instance cannot be understood; a start by the record writes it anew."""

    code = "record_damaged"


class HostUnfitError(HostError):
    """The kernel or a package lacks something that containers need."""

    code = "host_unfit"
    may_repeat = False


class ImageUnavailableError(HostError):
    """The source of an image did not give it: away, closed to us, not what the digest says, or slow."""

    code = "image_unavailable"


class DataMissingError(HostError):
    """The volume that a shop has is not on this host, or is not what it was: nothing is started."""

    code = "data_missing"
    may_repeat = False


class TransferFailedError(HostError):
    """A volume's archive did not get to where it is kept, or not from there as it should be."""

    code = "transfer_failed"


class ArchiveDamagedError(HostError):
    """An archive came as it was kept, but is no archive or not of that state; details: snapshot."""

    code = "archive_damaged"


class HostUnreachableError(HostError):
    """Nobody accepted the call in time."""

    code = "host_unreachable"


class HostBusyError(HostUnreachableError):
    """As many calls are in flight to the host as it takes at once: it was not asked."""

    code = "host_busy"


class HostOutdatedError(HostUnreachableError):
    """The host's agent is older than what was asked of it: it refused and did nothing."""

    code = "host_outdated"


class OutcomeUnknownError(HostError):
    """The call was accepted, but its answer did not come."""

    code = "outcome_unknown"


def by_code() -> dict[str, type[RuntimeCoreError]]:
    """Return every error class by its code, so that an answer can be turned back into an exception."""
    found: dict[str, type[RuntimeCoreError]] = {}
    waiting: list[type[RuntimeCoreError]] = [RuntimeCoreError]
    while waiting:
        cls = waiting.pop()
        found[cls.code] = cls
        waiting.extend(cls.__subclasses__())
    return found
