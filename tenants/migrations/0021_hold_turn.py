from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0020_host_week")]

    operations = [
        migrations.CreateModel(
            name="HoldTurn",
            fields=[
                (
                    "host",
                    models.OneToOneField(
                        on_delete=models.CASCADE,
                        primary_key=True,
                        related_name="hold_turn",
                        serialize=False,
                        to="tenants.host",
                    ),
                ),
                (
                    "operation",
                    models.ForeignKey(
                        on_delete=models.CASCADE, related_name="+", to="tenants.operation"
                    ),
                ),
                ("fence", models.PositiveBigIntegerField()),
            ],
        ),
    ]
