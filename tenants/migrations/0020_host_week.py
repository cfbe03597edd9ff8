from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("tenants", "0019_drains_and_journals")]

    operations = [
        migrations.CreateModel(
            name="HostWeek",
            fields=[
                (
                    "host",
                    models.OneToOneField(
                        on_delete=models.CASCADE,
                        primary_key=True,
                        related_name="week",
                        serialize=False,
                        to="tenants.host",
                    ),
                ),
                ("beyond", models.BinaryField()),
                ("at", models.DateTimeField(db_default=Now())),
            ],
        ),
    ]
