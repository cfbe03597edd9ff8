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
_OTHER_WAITING: Text = _("We are waiting for something it needs; it goes on by itself.")
_UNANSWERED: Text = _("Your shop was started but did not answer in time. Trying again often helps.")
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
    "deadline": _("It took longer than it may. Trying again often helps."),
}
# True of every verb.
_STOPPED: dict[str, Text] = {
    "cancelled": _("It was stopped on request."),
    "superseded": _("It was stopped because something newer was asked for."),
}
# True of every failure of the verb, whatever its code and however far it had come.
_FAILURES_OF: dict[str, Text] = {
    Verb.REPAIR: _(
        "Your shop could not be started just now. Its data is safe where it was. We try again by "
        "ourselves every few minutes."
    ),
    Verb.RECOVER: _(
        "Your shop could not be brought back yet. We try again by ourselves every few minutes, and "
        "never open an empty shop in its place."
    ),
    Verb.MOVE: _(
        "The move to another machine did not come to its end. No data is lost. If your shop does not "
        "answer, we start it again by ourselves; you need to do nothing."
    ),
    Verb.RESTORE: _(
        "Your shop has the data it had before; nothing of it is lost. If it does not answer, we start "
        "it again by ourselves. You can try again, or choose another copy."
    ),
    Verb.REMOVE: _(
        "The removal did not come to its end. Your shop may be closed already. Try again in a few "
        "minutes."
    ),
}
# True of a verb that failed with this as the furthest step that it had begun.
_NOT_MOVED: Text = _(
    "The move to another machine was given up before anything changed. Your shop is where it was; you "
    "need to do nothing."
)
_NOT_RESTORED: Text = _(
    "Nothing was changed: your shop has the data it had. You can try again, or choose another copy."
)
_FAILURES_AT: dict[tuple[str, str], Text] = {
    (Verb.MOVE, "place"): _NOT_MOVED,
    (Verb.MOVE, "copy"): _NOT_MOVED,
    (Verb.MOVE, "open"): _(
        "Your shop and all its data are on the other machine, but it did not answer there in time. We "
        "start it again by ourselves; you need to do nothing."
    ),
    (Verb.RESTORE, "safeguard"): _NOT_RESTORED,
    (Verb.REMOVE, "unroute"): _(
        "The removal has only begun: your shop's address is being closed. Try again in a few minutes."
    ),
    (Verb.REMOVE, "stop"): _(
        "Your shop's address is closed, but its machine did not say yet that everything is gone. Try "
        "again in a few minutes."
    ),
}
_MISSING: Text = _(
    "Your shop's data could not be found where it was. Your shop is not opened empty: choose on its "
    "page whether to wait or to go on from a copy."
)
# What is waited for: nothing has gone wrong.
_WAITING: dict[str, Text] = {
    "no_room": _("There is no room right now. It goes on by itself as soon as there is."),
    "frozen": _("We have paused this kind of work for a while. It goes on by itself."),
    "pool_unseen": _("Our machines cannot be reached right now. It goes on by itself."),
    "edges_silent": _("Its address is being opened; that takes a moment longer than usual."),
    "data_waiting": _(
        "A copy of your shop's data cannot be had just now. Your shop keeps its place and comes back "
        "as soon as it can; nothing is lost by waiting."
    ),
    "host_outdated": _(
        "The machine your shop runs on is to be updated first. Your shop starts with all its data as "
        "soon as that is done; nothing is lost by waiting."
    ),
}
_FAILURES_WITH: dict[tuple[str, str], Text] = {
    (Verb.REPAIR, "unhealthy"): _UNANSWERED,
    (Verb.REPAIR, "exited"): _UNANSWERED,
    (Verb.REPAIR, "shop_silent"): _UNANSWERED,
    (Verb.PROVISION, "data_missing"): _MISSING,
    (Verb.PROVISION, "host_lost"): _(
        "The machine on which your shop had just opened cannot be reached. Your shop may hold something "
        "already, so we bring it back by ourselves rather than open an empty one."
    ),
    (Verb.REPAIR, "data_missing"): _MISSING,
    (Verb.RECOVER, "data_missing"): _MISSING,
    (Verb.MOVE, "data_missing"): _MISSING,
    (Verb.RESTORE, "data_missing"): _MISSING,
    (Verb.RECOVER, "no_copy"): _(
        "The machine your shop ran on cannot be reached, and there is no copy of its data elsewhere yet. "
        "Rather than open an empty shop we wait for that machine: your shop comes back with it, with "
        "nothing lost. We have been told and are working on it."
    ),
    (Verb.RESTORE, "snapshot_lost"): _(
        "The copy of your data cannot be read right now. Your shop has the data it had before. Try "
        "again later, or choose another copy."
    ),
    (Verb.RESTORE, "cancelled"): _(
        "It was stopped on request. Your shop has the data it had before."
    ),
    (Verb.RESTORE, "left_older"): _(
        "Your shop has the earlier data now, but it did not answer in time. We start it again by "
        "ourselves. The data it had before is in the list of copies, as the copy from before a change."
    ),
    (Verb.RESTORE, "left_unsure"): _(
        "We cannot tell whether your shop has the earlier data or the data it had before. Both are in "
        "the list of copies. Look at your shop, and go back to the copy that you want."
    ),
}
_AGAIN: Text = _("One try did not work out. We are trying again; you need not do anything.")
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
    EventKind.DATA_MISSING: _(
        "Your shop's data could not be found where it was, so your shop is not started: it never opens "
        "empty. We have been told. You can wait, or let it go on from one of its copies."
    ),
    EventKind.DATA_BACK: _(
        "Your shop runs with its data again. If it went on from a copy, what was changed or ordered "
        "after that copy is lost: please look through the last orders and messages."
    ),
    EventKind.RECOVERED: _(
        "Your shop runs on another machine now. It was brought back from the copy named here: what was "
        "changed or ordered after that moment is lost. Please look through the last orders and messages."
    ),
    EventKind.NOT_ANSWERING: _(
        "The program of your shop runs but gives visitors no answer. If it is busy we wait; if it does "
        "nothing at all we start it again. What it logged last often says why."
    ),
    EventKind.UNPLUGGED: _(
        "On the machine your shop runs on, its connection was taken away. We put it back; visitors may "
        "have seen an error. Nothing was lost."
    ),
    EventKind.NO_CEILINGS: _(
        "On the machine your shop runs on, the ceilings of its plan no longer held. We put them back. "
        "Nothing was lost."
    ),
    EventKind.DAMAGED: _(
        "What the machine notes about your shop was damaged, and was or is being written again. The data "
        "of your shop lies elsewhere and is not touched by this."
    ),
    EventKind.CANNOT_END: _(
        "A program of your shop waits for the machine and cannot be ended. Your shop is started again as "
        "soon as it has ended. We have been told."
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
    """A step as merchants read it; an unknown one keeps its own name."""
    return _STEPS.get((verb, name), name)


def failure(verb: str, code: str, state: str = OperationState.FAILED, *, phase: str = "") -> Text:
    """Why an operation failed, in plain words, what it left behind, and what to do.

    phase: the furthest step that it had begun; what is left behind depends on it.

    While it is still open only this much is known: that it is tried again.
    """
    if state in OPEN_OPERATION_STATES:
        return _WAITING.get(code, _AGAIN)
    known = _FAILURES_WITH.get((verb, code)) or _STOPPED.get(code)
    known = known or _FAILURES_AT.get((verb, phase)) or _FAILURES_OF.get(verb)
    return known or _FAILURES.get(code, _OTHER_FAILURE)


def waiting(code: str) -> Text:
    """What an operation waits for, in plain words."""
    return _WAITING.get(code, _OTHER_WAITING)


def headline(verb: str, state: str, code: str = "") -> Text:
    """What is going on with an operation, or how it ended, as a heading."""
    if state in OPEN_OPERATION_STATES:
        return _VERBS.get((verb, "open"), Verb(verb).label)
    return _VERBS.get((verb, code)) or _VERBS.get((verb, state), Verb(verb).label)


def event_advice(kind: str) -> Text:
    """What an event means for a merchant and what to do about it."""
    return _EVENTS.get(kind, "")


def event_mark(kind: str, *, is_open: bool) -> tuple[str, str]:
    """The tone and shape of an event: over, a warning, or something that visitors notice."""
    if not is_open:
        return "calm", "○"
    mild = (
        EventKind.EXITED,
        EventKind.THROTTLED,
        EventKind.DISK_NEAR,
        EventKind.NO_CEILINGS,
        EventKind.DAMAGED,
    )
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
