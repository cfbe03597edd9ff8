from django.db import migrations, models

_KINDS = [
    ("exited", "Stopped by itself and was started again"),
    ("crash_loop", "Keeps stopping"),
    ("oom_killed", "Ran out of memory"),
    ("throttled", "Slowed down by its processor limit"),
    ("disk_near", "Almost out of space"),
    ("disk_over", "Out of space"),
    ("host_lost", "Its host was lost"),
    ("recovered", "Came back on another host, from a copy of its data"),
    ("not_answering", "Not answering"),
    ("unplugged", "Was cut off from the network"),
    ("no_ceilings", "Ran outside its limits"),
    ("damaged", "What its host keeps of it was damaged"),
    ("cannot_end", "Cannot be ended"),
]


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0010_snapshot_marks"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="instanceevent",
            name="event_kind_is_known",
        ),
        migrations.AlterField(
            model_name="instanceevent",
            name="kind",
            field=models.CharField(choices=_KINDS, max_length=16),
        ),
        migrations.AddConstraint(
            model_name="instanceevent",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", [kind for kind, _ in _KINDS])),
                name="event_kind_is_known",
            ),
        ),
    ]
