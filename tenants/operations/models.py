"""Operations with their steps, and answers to requests that a program repeats."""

from django.db import models
from django.db.models.functions import Now

from tenants.accounts.models import Member
from tenants.core.ids import operation_id
from tenants.shops.models import Instance, Tenant
from tenants.states import (
    LINE_VERBS,
    OPEN_OPERATION_STATES,
    PEOPLE_VERBS,
    URGENT_VERBS,
    OperationState,
    StepState,
    Verb,
)


class Operation(models.Model):
    """One verb asked of one tenant.

    Worked under a lease (lease_owner until lease_until); fence is the tenant's number at the claim.
    After deadline_at, or max_attempts, it fails with a reason; its time
    (tenants/operations/steps.py) begins with the first try, and with the first after a wait.
    """

    public_id = models.CharField(max_length=24, unique=True, default=operation_id)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="operations")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="operations")
    verb = models.CharField(max_length=16, choices=Verb)
    arguments = models.JSONField(default=dict, help_text="what the verb needs beside the instance")
    state = models.CharField(max_length=16, choices=OperationState, default=OperationState.PENDING)
    requested_by = models.ForeignKey(Member, null=True, blank=True, on_delete=models.SET_NULL)
    fence = models.PositiveBigIntegerField(default=0)
    lease_owner = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    run_after = models.DateTimeField(db_default=Now())
    deadline_at = models.DateTimeField()
    waiting_since = models.DateTimeField(
        null=True, blank=True, help_text="since when it has waited for what is not there yet"
    )
    waits = models.PositiveIntegerField(default=0, help_text="how often in this wait it was tried")
    queued_at = models.DateTimeField(db_default=Now(), help_text="its place in the line of starts")
    is_in_line = models.BooleanField(
        default=False,
        help_text="the next free worker takes it in its turn; else it is handed over by name",
    )
    phase = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        help_text="the furthest step that was begun (tenants/operations/steps.py)",
    )
    unwind_code = models.CharField(
        max_length=40,
        blank=True,
        default="",
        db_default="",
        help_text="since it only goes back: why, as a code",
    )
    unwind_message = models.CharField(max_length=500, blank=True, default="", db_default="")
    attempts = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=8)
    cancel_requested = models.BooleanField(default=False)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"],
                condition=models.Q(state__in=OPEN_OPERATION_STATES),
                name="one_open_operation_per_tenant",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=OperationState.values), name="operation_state_is_known"
            ),
        ]
        indexes = [
            models.Index(
                fields=["run_after"],
                condition=models.Q(state__in=OPEN_OPERATION_STATES),
                name="open_operations_by_time",
            ),
            models.Index(fields=["-created_at", "-id"], name="operations_newest_first"),
            *(
                models.Index(
                    fields=["queued_at", "id"],
                    condition=models.Q(
                        state=OperationState.PENDING, is_in_line=True, verb__in=verbs
                    ),
                    name=f"line_of_{name}",
                )
                for name, verbs in (("urgent", URGENT_VERBS), ("people", PEOPLE_VERBS))
            ),
            models.Index(
                fields=["verb"],
                condition=models.Q(state=OperationState.RUNNING, verb__in=LINE_VERBS),
                name="starts_under_way",
            ),
            models.Index(
                fields=["-finished_at"],
                condition=models.Q(state=OperationState.SUCCEEDED, verb__in=PEOPLE_VERBS),
                name="starts_newest_first",
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def is_open(self) -> bool:
        """Return whether it has not ended yet."""
        return self.state in OPEN_OPERATION_STATES


class Step(models.Model):
    """A named part of an operation, shown to people."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=32)
    state = models.CharField(max_length=16, choices=StepState, default=StepState.WAITING)
    detail = models.CharField(max_length=300, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["operation", "position"], name="steps_have_a_place")
        ]


class IdempotencyKey(models.Model):
    """One POST a program may repeat safely: same key and same payload give the first answer."""

    principal = models.CharField(max_length=80)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    operation = models.ForeignKey("tenants.Operation", on_delete=models.CASCADE)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["principal", "key"], name="one_answer_per_key")
        ]
