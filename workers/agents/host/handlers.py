"""The calls a host answers: methods of its driver (methods.py), and its adoption."""

from dataclasses import fields

from runtime.driver import Driver
from runtime.errors import SpecInvalidError
from workers.agents.common.dispatch import Calls
from workers.agents.common.messages import CallMessage
from workers.agents.common.methods import Args, Method
from workers.agents.host.adoption import Adoption
from workers.agents.host.methods import OF_HOSTS, Adopt, Adopted


class HostCalls(Calls):
    """Answers calls with a driver. Thread-safe when the driver is."""

    def __init__(self, driver: Driver, adoption: Adoption | None = None) -> None:
        super().__init__("host.call", OF_HOSTS)
        self._driver = driver
        self._adoption = adoption

    def _carry_out(self, method: Method[Args, object], args: Args, call: CallMessage) -> object:
        if isinstance(args, Adopt):
            return self._adopt(args)
        given = {field.name: getattr(args, field.name) for field in fields(args)}
        if method.is_fenced:
            given["fence"] = call.needed_fence()
            if self._adoption is not None:
                # Of this life of the host; StaleFenceError or HostError otherwise.
                self._adoption.admit(given["fence"])
        return getattr(self._driver, method.name)(**given)

    def _adopt(self, args: Adopt) -> Adopted:
        if self._adoption is None:
            raise SpecInvalidError("this host knows no epochs", field="call")
        return Adopted(self._adoption.adopt(args.epoch, keep=args.keep, delete=args.delete))
