"""A drain knows whether its host was closed before; the minute's purge finds old rows by an index."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tenants", "0018_phase"),
    ]

    operations = [
        migrations.AddField(
            model_name="drain",
            name="was_cordoned",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddIndex(
            model_name="decision",
            index=models.Index(fields=["at"], name="decisions_by_time"),
        ),
        migrations.AddIndex(
            model_name="hostusage",
            index=models.Index(fields=["at"], name="usage_by_time"),
        ),
        migrations.AddIndex(
            model_name="transition",
            index=models.Index(fields=["at"], name="transitions_by_time"),
        ),
    ]
