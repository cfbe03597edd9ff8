"""What states, steps and failures are called before people; the words of the pages in one place."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from tenants.states import (
    OPEN_OPERATION_STATES,
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
    InstanceState.DATA_MISSING: ("bad", "▲"),
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
    (Verb.RECOVER, "place"): _("Find a place for your shop"),
    (Verb.RECOVER, "load"): _("Bring its data"),
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
_OTHER_WAITING: Text = _("It waits for something it needs, and continues by itself.")
_UNANSWERED: Text = _("Your shop was started but did not answer in time. Please try again.")
# Why a set-up failed. Other verbs have their own sentences below: what is true of a shop that was
# never open is not true of one that people use.
_FAILURES: dict[str, Text] = {
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
    "deadline": _("This took too long and was stopped. Please try again."),
}
# True of every verb.
_STOPPED: dict[str, Text] = {
    "cancelled": _("It was stopped on request."),
    "superseded": _("It was stopped because a newer request replaced it."),
}
# True of every failure of the verb, whatever its code and however far it had come.
_FAILURES_OF: dict[str, Text] = {
    Verb.REPAIR: _(
        "Your shop could not be started. Its data is safe. We try again every few minutes; you do "
        "not need to do anything."
    ),
    Verb.RECOVER: _(
        "Your shop could not be brought back yet. We try again every few minutes. We never open an "
        "empty shop in its place."
    ),
    Verb.MOVE: _(
        "The move to another machine failed. No data is lost. If your shop does not answer, we "
        "start it again. You do not need to do anything."
    ),
    Verb.RESTORE: _(
        "Your shop has the data it had before; nothing is lost. If it does not answer, we start it "
        "again. You can try again, or choose another copy."
    ),
    Verb.REMOVE: _(
        "The removal failed. Your shop may be closed already. Please try again in a few minutes."
    ),
}
# True of a verb that failed with this as the furthest step that it had begun.
_NOT_MOVED: Text = _(
    "The move to another machine ended before anything changed. Your shop is where it was. You do not "
    "need to do anything."
)
_NOT_RESTORED: Text = _(
    "Nothing was changed: your shop has the data it had. You can try again, or choose another copy."
)
_FAILURES_AT: dict[tuple[str, str], Text] = {
    (Verb.MOVE, "place"): _NOT_MOVED,
    (Verb.MOVE, "copy"): _NOT_MOVED,
    (Verb.MOVE, "open"): _(
        "Your shop and all its data are on the other machine, but it did not answer in time. We start it "
        "again. You do not need to do anything."
    ),
    (Verb.RESTORE, "safeguard"): _NOT_RESTORED,
    (Verb.REMOVE, "unroute"): _(
        "The removal had only begun to close your shop's address. Please try again in a few minutes."
    ),
    (Verb.REMOVE, "stop"): _(
        "Your shop's address is closed, but its machine has not confirmed the removal yet. Please try "
        "again in a few minutes."
    ),
}
_MISSING: Text = _(
    "Your shop's data was not found. We do not open your shop empty. Choose on its page whether to "
    "wait or to continue from a copy."
)
# What is waited for: nothing has gone wrong.
_WAITING: dict[str, Text] = {
    "no_room": _("There is no room right now. It continues by itself as soon as there is."),
    "frozen": _("We have paused this kind of work for a while. It continues by itself."),
    "pool_unseen": _("Our machines cannot be reached right now. It continues by itself."),
    "edges_silent": _("Its address is being opened. That takes a little longer than usual."),
    "data_waiting": _(
        "The copies of your shop's data cannot be read right now. Your shop keeps its place and "
        "starts as soon as they can. Nothing is lost by waiting."
    ),
    "host_outdated": _(
        "The machine your shop runs on must be updated first. Your shop then starts with all its "
        "data. Nothing is lost by waiting."
    ),
}
_FAILURES_WITH: dict[tuple[str, str], Text] = {
    (Verb.REPAIR, "unhealthy"): _UNANSWERED,
    (Verb.REPAIR, "exited"): _UNANSWERED,
    (Verb.REPAIR, "shop_silent"): _UNANSWERED,
    (Verb.PROVISION, "data_missing"): _MISSING,
    (Verb.PROVISION, "host_lost"): _(
        "The machine your shop had just opened on cannot be reached. Your shop may hold data "
        "already, so we bring it back with its data. You do not need to do anything."
    ),
    (Verb.REPAIR, "data_missing"): _MISSING,
    (Verb.RECOVER, "data_missing"): _MISSING,
    (Verb.MOVE, "data_missing"): _MISSING,
    (Verb.RESTORE, "data_missing"): _MISSING,
    (Verb.RECOVER, "no_copy"): _(
        "The machine your shop ran on cannot be reached, and no other copy of its data exists yet. "
        "We wait for that machine and do not open an empty shop. Your shop comes back with all its "
        "data. We have been notified and are working on it."
    ),
    (Verb.RESTORE, "snapshot_lost"): _(
        "A copy of your data cannot be used as it is. Your shop has the data it had before. Try "
        "again, or choose another copy."
    ),
    (Verb.RESTORE, "repository_away"): _(
        "The copy of your data cannot be read right now. Your shop has the data it had before. Try "
        "again later, or choose another copy."
    ),
    (Verb.RESTORE, "cancelled"): _(
        "It was stopped on request. Your shop has the data it had before."
    ),
    (Verb.RESTORE, "left_older"): _(
        "Your shop has the earlier data now, but it did not answer in time. We start it again. The "
        "data it had before is in the list of copies, as the copy from before a change."
    ),
    (Verb.RESTORE, "left_unsure"): _(
        "We do not know whether your shop has the earlier data or the data it had before. Both are "
        "in the list of copies. Please look at your shop, and go back to the copy you want."
    ),
}
_AGAIN: Text = _("One try failed. We are trying again. You do not need to do anything.")
_OTHER_FAILURE: Text = _(
    "Something failed on our side. Nothing you entered is lost. Please try again. If it fails "
    "again, tell us the number below."
)

# To the merchant: what it means and what to do.
_EVENTS: dict[str, Text] = {
    EventKind.EXITED: _(
        "Your shop's program ended unexpectedly. We started it again at once; visitors may have "
        "waited for a moment. Its last log lines often say why."
    ),
    EventKind.CRASH_LOOP: _(
        "Your shop's program keeps ending shortly after its start. We keep starting it, with longer"
        " pauses each time. Look at its last log lines, and at what you changed last."
    ),
    EventKind.OOM_KILLED: _(
        "Your shop needed more memory than its plan allows, so one of its programs was ended. "
        "Visitors may have seen an error."
    ),
    EventKind.THROTTLED: _(
        "Your shop needed more processor time than its plan allows, so pages became slower. Nothing"
        " was lost."
    ),
    EventKind.DISK_NEAR: _(
        "Your shop's storage is almost full. Delete what you no longer need, such as old pictures. "
        "When it is full, new orders cannot be saved."
    ),
    EventKind.DISK_OVER: _(
        "Your shop's storage is full. It can save nothing new, and orders may fail. Delete what you"
        " no longer need, such as old pictures."
    ),
    EventKind.HOST_LOST: _(
        "The machine your shop ran on can no longer be reached. We start your shop on another one, "
        "from the last copy of its data."
    ),
    EventKind.DATA_MISSING: _(
        "Your shop's data was not found, so we do not start your shop: it never opens empty. We "
        "have been notified. You can wait, or continue from one of its copies."
    ),
    EventKind.DATA_BACK: _(
        "Your shop runs with its data again. If it continued from a copy, changes and orders made "
        "after that copy are lost. Please check the last orders and messages."
    ),
    EventKind.RECOVERED: _(
        "Your shop runs on another machine now, from the copy named here. Changes and orders made "
        "after that copy are lost. Please check the last orders and messages."
    ),
    EventKind.NOT_ANSWERING: _(
        "Your shop's program runs but does not answer visitors. If it is busy, we wait. If it does "
        "nothing, we start it again. Its last log lines often say why."
    ),
    EventKind.UNPLUGGED: _(
        "Your shop lost its network connection on its machine. We restored it; visitors may have "
        "seen an error. Nothing was lost."
    ),
    EventKind.NO_LIMITS: _(
        "Your plan's limits were no longer applied to your shop on its machine. We restored them."
        " Nothing was lost."
    ),
    EventKind.DAMAGED: _(
        "A file that the machine keeps about your shop was damaged. We write it again. Your shop's "
        "own data is stored elsewhere and is not affected."
    ),
    EventKind.CANNOT_END: _(
        "A program of your shop waits for the machine and cannot be ended. We start your shop again"
        " as soon as it has ended. We have been notified."
    ),
}

_SWITCHES: dict[str, tuple[Text, Text]] = {
    "placements": (
        _("New shops"),
        _("No new shops are placed. Sign-ups are refused with “try again later”."),
    ),
    "replacing": (
        _("Re-placing"),
        _("Shops of a lost host are not started elsewhere until this is turned off."),
    ),
    "reconcile": (
        _("Reconcile"),
        _("Differences between the database and the hosts are not corrected."),
    ),
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
    (Verb.RECOVER, "open"): _("Your shop is being brought back"),
    (Verb.RECOVER, OperationState.SUCCEEDED): _("Your shop is back"),
    (Verb.RECOVER, OperationState.FAILED): _("Your shop could not be brought back yet"),
    (Verb.RECOVER, OperationState.CANCELLED): _("Bringing it back was stopped"),
    (Verb.RESTORE, "open"): _("Your shop is going back to earlier data"),
    (Verb.RESTORE, OperationState.SUCCEEDED): _("Your shop has its earlier data back"),
    (Verb.RESTORE, OperationState.FAILED): _("Your shop could not go back to earlier data"),
    (Verb.RESTORE, OperationState.CANCELLED): _("Going back was stopped; the data is as it was"),
    (Verb.RESTORE, "superseded"): _("Going back was stopped"),
    (Verb.RESTORE, "left_older"): _("Your shop has its earlier data, but does not answer yet"),
    (Verb.RESTORE, "left_unsure"): _("Going back was interrupted; please look at your shop"),
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
    """Return a step as merchants read it; an unknown one keeps its own name."""
    return _STEPS.get((verb, name), name)


def failure(verb: str, code: str, state: str = OperationState.FAILED, *, phase: str = "") -> Text:
    """Return why an operation failed, in plain words, what it left behind, and what to do.

    phase: the furthest step that it had begun; what is left behind depends on it.

    While it is still open only this much is known: that it is tried again.
    """
    if state in OPEN_OPERATION_STATES:
        return _WAITING.get(code, _AGAIN)
    known = _FAILURES_WITH.get((verb, code)) or _STOPPED.get(code)
    known = known or _FAILURES_AT.get((verb, phase)) or _FAILURES_OF.get(verb)
    return known or _FAILURES.get(code, _OTHER_FAILURE)


def waiting(code: str) -> Text:
    """Return what an operation waits for, in plain words."""
    return _WAITING.get(code, _OTHER_WAITING)


def headline(verb: str, state: str, code: str = "") -> Text:
    """Return what is going on with an operation, or how it ended, as a heading."""
    if state in OPEN_OPERATION_STATES:
        return _VERBS.get((verb, "open"), Verb(verb).label)
    return _VERBS.get((verb, code)) or _VERBS.get((verb, state), Verb(verb).label)


def event_advice(kind: str) -> Text:
    """Return what an event means for a merchant and what to do about it."""
    return _EVENTS.get(kind, "")


def event_mark(kind: str, *, is_open: bool) -> tuple[str, str]:
    """Return the tone and shape of an event: over, a warning, or something that visitors notice."""
    if not is_open:
        return "calm", "○"
    mild = (
        EventKind.EXITED,
        EventKind.THROTTLED,
        EventKind.DISK_NEAR,
        EventKind.NO_LIMITS,
        EventKind.DAMAGED,
    )
    return ("busy" if kind in mild else "bad"), "▲"


def tone(state: str) -> str:
    """Return the tone of a state: good, busy, bad or calm."""
    return TONES.get(state, ("calm", "○"))[0]


def shape(state: str) -> str:
    """Return the shape that goes with a state's tone."""
    return TONES.get(state, ("calm", "○"))[1]


def switch(name: str) -> tuple[Text, Text]:
    """Return a freeze switch's name and what it stops while it is on."""
    return _SWITCHES.get(name, (name, ""))


# "running" means a shop that runs and an operation that is worked on: the badge asks which.
OPERATION_RUNNING: Text = pgettext_lazy("operation", "Working")
