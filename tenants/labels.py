"""What states, steps and failures are called before people; the words of the pages in one place."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from tenants.states import (
    EventKind,
    HostHealth,
    HostState,
    InstanceState,
    OperationState,
    StepState,
    TenantState,
    Verb,
)

Text = str | Promise

# A state is never colour alone: (tone, shape) stand beside its word. Tones are classes of the sheet.
TONES: dict[str, tuple[str, str]] = {
    TenantState.LIVE: ("good", "●"),
    InstanceState.RUNNING: ("good", "●"),
    OperationState.SUCCEEDED: ("good", "●"),
    StepState.DONE: ("good", "●"),
    HostState.OPEN: ("good", "●"),
    HostHealth.ALIVE: ("good", "●"),
    HostHealth.UNREACHABLE: ("bad", "▲"),
    HostHealth.LOST: ("bad", "▲"),
    TenantState.REQUESTED: ("busy", "◐"),
    InstanceState.PROVISIONING: ("busy", "◐"),
    InstanceState.RETIRING: ("busy", "◐"),
    TenantState.REMOVING: ("busy", "◐"),
    OperationState.PENDING: ("busy", "◐"),
    StepState.ACTIVE: ("busy", "◐"),
    HostState.CORDONED: ("busy", "◐"),
    HostState.DRAINING: ("busy", "◐"),
    HostState.REMOVED: ("calm", "○"),
    TenantState.FAILED: ("bad", "▲"),
    TenantState.REMOVED: ("calm", "○"),
    InstanceState.RETIRED: ("calm", "○"),
    OperationState.CANCELLED: ("calm", "○"),
    StepState.WAITING: ("calm", "○"),
}

_STEPS: dict[tuple[str, str], Text] = {
    (Verb.PROVISION, "place"): _("Find a place for your shop"),
    (Verb.PROVISION, "start"): _("Start your shop"),
    (Verb.PROVISION, "route"): _("Open its address"),
    (Verb.PROVISION, "check"): _("Check that it answers"),
    (Verb.REPAIR, "place"): _("Find a place for your shop"),
    (Verb.REPAIR, "start"): _("Start your shop again"),
    (Verb.REPAIR, "route"): _("Open its address"),
    (Verb.REPAIR, "check"): _("Check that it answers"),
    (Verb.RECOVER, "place"): _("Find another place for your shop"),
    (Verb.RECOVER, "load"): _("Bring the last copy of its data"),
    (Verb.RECOVER, "start"): _("Start your shop"),
    (Verb.RECOVER, "route"): _("Lead its address there"),
    (Verb.RECOVER, "check"): _("Check that it answers"),
    (Verb.RESTORE, "safeguard"): _("Copy the data as it is now"),
    (Verb.RESTORE, "hold"): _("Let visitors wait for a moment"),
    (Verb.RESTORE, "restore"): _("Bring the earlier data back"),
    (Verb.RESTORE, "resume"): _("Start your shop again"),
    (Verb.RESTORE, "check"): _("Check that it answers"),
    (Verb.MOVE, "place"): _("Find a new place for your shop"),
    (Verb.MOVE, "copy"): _("Copy its data while it runs"),
    (Verb.MOVE, "hold"): _("Ask visitors to wait for a moment"),
    (Verb.MOVE, "carry"): _("Take the last changes along"),
    (Verb.MOVE, "resume"): _("Start your shop at its new place"),
    (Verb.MOVE, "open"): _("Let visitors in again"),
    (Verb.MOVE, "clear"): _("Clear the old place away"),
    (Verb.REMOVE, "unroute"): _("Close its address"),
    (Verb.REMOVE, "stop"): _("Stop your shop"),
    (Verb.REMOVE, "clean"): _("Clear everything away"),
}

_UNREACHED: Text = _(
    "Our machines cannot be reached right now. Your address is kept for you. "
    "Try again in a few minutes."
)
_OTHER_WAITING: Text = _("We are waiting for something it needs; it goes on by itself.")
_WAITINGS: dict[str, Text] = {
    "no_room": _("There is no room right now. It goes on by itself as soon as there is."),
    "frozen": _("We have paused this kind of work for a while. It goes on by itself."),
    "pool_unseen": _("Our machines cannot be reached right now. It goes on by itself."),
    "edges_silent": _("Its address is being opened; that takes a moment longer than usual."),
}
_UNANSWERED: Text = _("Your shop was started but did not answer in time. Trying again often helps.")
_STAYED: Text = _("Your shop stays where it was and runs on. You need to do nothing.")
_FAILURES: dict[str, Text] = {
    "busy_shop": _STAYED,
    "swap_failed": _STAYED,
    "no_room": _(
        "There is no room for new shops right now. You have not been charged, and your address is "
        "kept for you. Try again in a few minutes."
    ),
    "frozen": _(
        "We are not opening new shops at the moment. You have not been charged, and your address "
        "is kept for you. Try again later."
    ),
    "pool_unseen": _UNREACHED,
    "host_unreachable": _UNREACHED,
    "outcome_unknown": _UNREACHED,
    "edges_silent": _(
        "Your shop is ready, but its address could not be opened. Try again in a few minutes."
    ),
    "unhealthy": _UNANSWERED,
    "exited": _UNANSWERED,
    "shop_silent": _UNANSWERED,
    "snapshot_lost": _(
        "The copy of your data cannot be read right now, so nothing was changed. Try again later, or "
        "choose another copy."
    ),
    "no_copy": _(
        "The machine your shop ran on cannot be reached, and there is no copy of its data elsewhere yet. "
        "Rather than open an empty shop we wait for that machine: your shop comes back with it, with "
        "nothing lost. We have been told and are working on it."
    ),
    "cancelled": _("It was stopped because you asked for it."),
    "superseded": _("It was stopped because something newer was asked for."),
    "deadline": _("It took longer than it may. Trying again often helps."),
}
_OTHER_FAILURE: Text = _(
    "Something on our side did not work. Nothing you entered is lost. Try again; "
    "if it fails once more, tell us the number below."
)

# To the merchant: what it means and what to do.
_EVENTS: dict[str, Text] = {
    EventKind.EXITED: _(
        "The program of your shop ended by itself. We started it again at once; visitors may have "
        "waited for a moment. What it logged last often says why."
    ),
    EventKind.CRASH_LOOP: _(
        "The program of your shop ends again and again shortly after its start. We keep starting it, "
        "with longer pauses each time. What it logged last often says why; the last thing you changed "
        "is a good place to look."
    ),
    EventKind.OOM_KILLED: _(
        "Your shop needed more memory than its plan gives, so one of its programs was ended. Visitors "
        "may have seen an error."
    ),
    EventKind.THROTTLED: _(
        "Your shop had more to do than its plan's share of the processor allows, so pages became slower. "
        "Nothing was lost."
    ),
    EventKind.DISK_NEAR: _(
        "Your shop's storage is almost full. Delete what you no longer need, such as old pictures, "
        "before new orders cannot be kept."
    ),
    EventKind.DISK_OVER: _(
        "Your shop's storage is full, so it can keep nothing new: orders may fail. Delete what you no "
        "longer need, such as old pictures."
    ),
    EventKind.HOST_LOST: _(
        "The machine your shop ran on can no longer be reached. We bring your shop back on another one, "
        "from the last copy of its data."
    ),
    EventKind.RECOVERED: _(
        "Your shop runs on another machine now. It was brought back from the copy named here: what was "
        "changed or ordered after that moment is lost. Please look through the last orders and messages."
    ),
}

_SWITCHES: dict[str, tuple[Text, Text]] = {
    "placements": (_("New shops"), _("Nothing new is placed; sign-ups are told to come back.")),
    "replacing": (
        _("Re-placing"),
        _("Instances of a lost host stay where they were until this is lifted."),
    ),
    "reconcile": (_("Reconcile"), _("Differences between record and hosts are left alone.")),
    "sleep": (_("Sleep"), _("No idle shop is put to sleep.")),
    "rollouts": (_("Rollouts"), _("No shop gets another release.")),
}

_VERBS: dict[tuple[str, str], Text] = {
    (Verb.PROVISION, "open"): _("Your shop is being set up"),
    (Verb.PROVISION, OperationState.SUCCEEDED): _("Your shop is open"),
    (Verb.PROVISION, OperationState.FAILED): _("Your shop could not be set up"),
    (Verb.PROVISION, OperationState.CANCELLED): _("The set-up was stopped"),
    (Verb.REPAIR, "open"): _("Your shop is being started again"),
    (Verb.REPAIR, OperationState.SUCCEEDED): _("Your shop is running again"),
    (Verb.REPAIR, OperationState.FAILED): _("Your shop could not be started again"),
    (Verb.REPAIR, OperationState.CANCELLED): _("Starting again was stopped"),
    (Verb.RECOVER, "open"): _("Your shop is being brought back on another machine"),
    (Verb.RECOVER, OperationState.SUCCEEDED): _("Your shop is back"),
    (Verb.RECOVER, OperationState.FAILED): _("Your shop could not be brought back yet"),
    (Verb.RECOVER, OperationState.CANCELLED): _("Bringing it back was stopped"),
    (Verb.RESTORE, "open"): _("Your shop is going back to earlier data"),
    (Verb.RESTORE, OperationState.SUCCEEDED): _("Your shop has its earlier data back"),
    (Verb.RESTORE, OperationState.FAILED): _("Your shop could not go back to earlier data"),
    (Verb.RESTORE, OperationState.CANCELLED): _("Going back was stopped; the data is as it was"),
    (Verb.MOVE, "open"): _("Your shop is moving to another machine"),
    (Verb.MOVE, OperationState.SUCCEEDED): _("Your shop has moved"),
    (Verb.MOVE, OperationState.FAILED): _("Your shop could not be moved"),
    (Verb.MOVE, OperationState.CANCELLED): _("The move was stopped"),
    (Verb.REMOVE, "open"): _("Your shop is being removed"),
    (Verb.REMOVE, OperationState.SUCCEEDED): _("Your shop has been removed"),
    (Verb.REMOVE, OperationState.FAILED): _("Your shop could not be removed"),
    (Verb.REMOVE, OperationState.CANCELLED): _("The removal was stopped"),
}


def step(verb: str, name: str) -> Text:
    """A step as merchants read it; an unknown one keeps its own name."""
    return _STEPS.get((verb, name), name)


def failure(code: str) -> Text:
    """Why an operation failed, in plain words, and what to do."""
    return _FAILURES.get(code, _OTHER_FAILURE)


def waiting(code: str) -> Text:
    """What an operation waits for, in plain words."""
    return _WAITINGS.get(code, _OTHER_WAITING)


def headline(verb: str, state: str) -> Text:
    """What is going on with an operation, as a heading."""
    ended = state not in (OperationState.PENDING, OperationState.RUNNING)
    return _VERBS.get((verb, state if ended else "open"), Verb(verb).label)


def event_advice(kind: str) -> Text:
    """What an event means for a merchant and what to do about it."""
    return _EVENTS.get(kind, "")


def event_mark(kind: str, *, is_open: bool) -> tuple[str, str]:
    """The tone and shape of an event: over, a warning, or something that visitors notice."""
    if not is_open:
        return "calm", "○"
    mild = (EventKind.EXITED, EventKind.THROTTLED, EventKind.DISK_NEAR)
    return ("busy" if kind in mild else "bad"), "▲"


def tone(state: str) -> str:
    """The tone of a state: good, busy, bad or calm."""
    return TONES.get(state, ("calm", "○"))[0]


def shape(state: str) -> str:
    """The shape that goes with a state's tone."""
    return TONES.get(state, ("calm", "○"))[1]


def switch(name: str) -> tuple[Text, Text]:
    """A freeze switch's name and what it stops while it is on."""
    return _SWITCHES.get(name, (name, ""))


# "running" means a shop that runs and an operation that is worked on: the badge asks which.
OPERATION_RUNNING: Text = pgettext_lazy("operation", "Working")
