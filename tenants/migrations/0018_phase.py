"""How far an operation has come, and that it goes back, beside its lease."""

from django.db import migrations, models


# What was on its way goes on from where it was.
_GO_ON = """
UPDATE tenants_move SET is_switched = phase IN ('switched', 'answered');
UPDATE tenants_operation AS operation
   SET phase = CASE move.phase WHEN 'preparing' THEN 'copy' WHEN 'holding' THEN 'hold'
                               WHEN 'stopping' THEN 'stop' WHEN 'starting' THEN 'start'
                               WHEN 'switched' THEN 'open' ELSE 'clear' END
  FROM tenants_move AS move
 WHERE move.operation_id = operation.id AND move.ended_at IS NULL AND operation.verb = 'move'
   AND operation.state IN ('pending', 'running');
UPDATE tenants_operation
   SET phase = CASE arguments ->> 'phase' WHEN 'preparing' THEN 'safeguard' WHEN 'holding' THEN 'hold'
                                          WHEN 'stopping' THEN 'load' WHEN 'starting' THEN 'start'
                                          WHEN 'switched' THEN 'check' ELSE '' END,
       unwind_code = COALESCE(arguments -> 'returning' ->> 0, ''),
       unwind_message = COALESCE(arguments -> 'returning' ->> 1, ''),
       arguments = arguments - 'phase' - 'returning'
 WHERE verb = 'restore' AND state IN ('pending', 'running');
"""


class Migration(migrations.Migration):

    dependencies = [
        ("tenants", "0017_metric_sums"),
    ]

    operations = [
        # Nothing has counted patience in seconds since every verb has its own deadline.
        migrations.RemoveField(model_name="operation", name="asked_at"),
        migrations.AddField(
            model_name="operation",
            name="phase",
            field=models.CharField(
                blank=True,
                default="",
                db_default="",
                help_text="the furthest step that was begun (tenants/operations/steps.py)",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="operation",
            name="unwind_code",
            field=models.CharField(
                blank=True,
                default="",
                db_default="",
                help_text="since it only goes back: why, as a code",
                max_length=40,
            ),
        ),
        migrations.AddField(
            model_name="operation",
            name="unwind_message",
            field=models.CharField(blank=True, default="", db_default="", max_length=500),
        ),
        migrations.AddField(
            model_name="move",
            name="is_switched",
            field=models.BooleanField(
                default=False, help_text="whether the record's place is the target already"
            ),
        ),
        migrations.RunSQL(_GO_ON, migrations.RunSQL.noop),
        migrations.RemoveConstraint(model_name="move", name="move_phase_is_known"),
        migrations.RemoveField(model_name="move", name="phase"),
    ]
