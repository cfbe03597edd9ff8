"""When the inventory of a host's report was collected."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tenants", "0014_burst"),
    ]

    operations = [
        migrations.AddField(
            model_name="hostreport",
            name="inventory_at",
            field=models.DateTimeField(
                help_text="the inventory was collected after this; null: written before this was kept",
                null=True,
            ),
        ),
    ]
