"""Tells alarms away from the pages: what is due goes to its channel in one message, again if it failed."""

import logging
from collections.abc import Callable, Sequence

from tenants.core import alarms, notices
from tenants.core.models import Notice
from workers.leases.periodic import once
from workers.reconcilers import alarm_channels
from workers.reconcilers.alarm_channels import ChannelError

log = logging.getLogger(__name__)

_SENDERS: dict[str, Callable[[Sequence[Notice]], None]] = {
    Notice.Channel.MAIL: alarm_channels.mail,
    Notice.Channel.WEBHOOK: alarm_channels.webhook,
}


@once("send_notices")
def send() -> str:
    """Do one round over the channels. A channel that fails does not delay another."""
    said = [sentence for channel in notices.channels() if (sentence := _tell(channel))]
    alarms.keep("notices", notices.troubles())
    return "; ".join(said)


def _tell(channel: Notice.Channel) -> str:
    found = notices.due(channel)
    if not found:
        return ""
    try:
        _SENDERS[channel](found)
    except ChannelError as error:
        pause = notices.failed(found, str(error))
        log.warning("%s did not take %d notices: %s", channel, len(found), error)
        return f"{channel}: {error}; again in {pause:.0f} s"
    notices.delivered(found)
    return f"{channel}: {len(found)} told"
