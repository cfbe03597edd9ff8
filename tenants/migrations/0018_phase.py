"""How far an operation has come, and that it goes back, beside its lease."""

from django.db import migrations, models


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
                db_default="",
                help_text="the furthest step that was begun (tenants/steps.py)",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="operation",
            name="unwind_code",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="since it only goes back: why, as a code",
                max_length=40,
            ),
        ),
        migrations.AddField(
            model_name="operation",
            name="unwind_message",
            field=models.CharField(blank=True, db_default="", max_length=500),
        ),
    ]
