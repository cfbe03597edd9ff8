"""Names the codes of operations on operators' pages, in the reader's language.

The sentence beside a name is technical detail, kept in English as the programs wrote it.
"""

from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from tenants.errors import TenantsError
from tenants.http.labels import Text

LABELS: dict[str, Text] = {
    "app": _("The app failed"),
    "archive_damaged": _("A copy is damaged"),
    "away": _("The database or the broker is away"),
    "busy": _("Too busy"),
    "busy_shop": _("Requests did not end in time"),
    "cancelled": _("Stopped on request"),
    "ceiling_in_use": _("The shop uses more than its new limit"),
    "command_failed": _("A command on the host failed"),
    "data_missing": _("Data is missing"),
    "data_waiting": _("Waits for a copy of the data"),
    "deadline": _("Took too long"),
    "edge_refused": _("An edge refuses the route"),
    "edges_silent": _("No edge answers"),
    "exited": _("The program ended"),
    "flow": _("A step failed"),
    "frozen": _("Frozen by an operator"),
    "host": _("The host failed"),
    "host_awaited": _("Waits for its host"),
    "host_busy": _("The host is busy"),
    "host_lost": _("Its host was lost"),
    "host_outdated": _("The host's agent is too old"),
    "host_unfit": _("The machine cannot be a host"),
    "host_unreachable": _("The host cannot be reached"),
    "image_unavailable": _("The image cannot be fetched"),
    "image_unknown": _("The host does not have the image"),
    "input": _("The request is wrong"),
    "internal": _("An unexpected error"),
    "invalid": _("The request is wrong"),
    "left_older": _("Runs on the earlier data"),
    "left_unsure": _("It is not known which data it has"),
    "leftovers": _("The old place is not cleared yet"),
    "netlink": _("The host's network failed"),
    "no_copy": _("No good copy of the data"),
    "no_room": _("No room in the pool"),
    "operation_open": _("Another operation is running"),
    "outcome_unknown": _("No answer from the host"),
    "pool_unseen": _("No host can be seen"),
    "ports_taken": _("No free port on the host"),
    "record_damaged": _("A file on the host is damaged"),
    "repository_away": _("Copies cannot be reached"),
    "restored": _("Ended by a restored backup"),
    "route_refused": _("The route cannot be served"),
    "runtime": _("The host failed"),
    "shop_silent": _("No answer through the edge"),
    "snapshot_lost": _("The copy cannot be read"),
    "spec_invalid": _("The request is wrong"),
    "stale_fence": _("A newer request took over"),
    "state_conflict": _("Its state does not allow it"),
    "step_refused": _("The container is in another state"),
    "superseded": _("Replaced by a newer request"),
    "swap_failed": _("The change of place failed"),
    "tenants": _("The control plane failed"),
    "too_many_moves": _("Too many moves at once"),
    "transfer_failed": _("The data could not be carried"),
    "undoing": _("Undoing what it has begun"),
    "unhealthy": _("The shop does not answer"),
    "waiting": _("Waits"),
}


def label(code: str) -> Text:
    """Return the code's short label; "" for a code that no operation ends with."""
    return LABELS.get(code, "")


def refusal(error: TenantsError) -> str:
    """Return why a request was refused, for an operator.

    A message that is English only follows its label where the page is in another language.
    """
    name = label(error.code)
    is_english = (get_language() or "en").startswith("en")
    if is_english or not name or isinstance(error.message, Promise):
        return str(error.message)
    return f"{name} ({error.message})"
