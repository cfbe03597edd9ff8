"""The record's tables, and the sequence that numbers every change of a route."""

import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import tenants.core.ids
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        # Drawn from by placement/routes.py: one order for the changes of all hostnames.
        migrations.RunSQL(
            "CREATE SEQUENCE tenants_route_order", "DROP SEQUENCE tenants_route_order"
        ),
        migrations.CreateModel(
            name='Alarm',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=120, unique=True)),
                ('message', models.CharField(max_length=500)),
                ('since', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('cleared_at', models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name='App',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(max_length=40, unique=True)),
                ('name', models.CharField(max_length=80)),
            ],
        ),
        migrations.CreateModel(
            name='Edge',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=32, unique=True)),
                ('broker_secret_sha256', models.CharField(max_length=64)),
                ('token_sha256', models.CharField(max_length=64)),
                ('check_url', models.CharField(help_text='where control asks this edge for a shop', max_length=200)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('seen_at', models.DateTimeField(blank=True, null=True)),
                ('boot_id', models.CharField(blank=True, max_length=64)),
                ('digest', models.CharField(blank=True, max_length=64)),
                ('applied_sequence', models.PositiveBigIntegerField(default=0)),
                ('is_synced', models.BooleanField(default=False)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='FreezeSwitch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(choices=[('placements', 'Placements'), ('replacing', 'Replacing'), ('reconcile', 'Reconcile'), ('sleep', 'Sleep'), ('rollouts', 'Rollouts')], max_length=16, unique=True)),
                ('is_on', models.BooleanField(default=False)),
                ('reason', models.CharField(blank=True, max_length=300)),
                ('changed_by', models.CharField(blank=True, max_length=254)),
                ('changed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='Host',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=32, unique=True)),
                ('address', models.GenericIPAddressField(protocol='IPv4')),
                ('state', models.CharField(choices=[('open', 'Open'), ('cordoned', 'Cordoned')], default='open', max_length=16)),
                ('engine', models.CharField(default='crun', max_length=16)),
                ('zone', models.CharField(default='default', max_length=32)),
                ('epoch', models.PositiveIntegerField(default=1)),
                ('capacity_cpu_millis', models.PositiveIntegerField()),
                ('capacity_memory_bytes', models.PositiveBigIntegerField()),
                ('capacity_disk_bytes', models.PositiveBigIntegerField()),
                ('reserve_cpu_millis', models.PositiveIntegerField(default=0)),
                ('reserve_memory_bytes', models.PositiveBigIntegerField(default=0)),
                ('reserve_disk_bytes', models.PositiveBigIntegerField(default=0)),
                ('booked_cpu_millis', models.PositiveIntegerField(default=0)),
                ('booked_memory_bytes', models.PositiveBigIntegerField(default=0)),
                ('booked_disk_bytes', models.PositiveBigIntegerField(default=0)),
                ('first_port', models.PositiveIntegerField(default=10000)),
                ('last_port', models.PositiveIntegerField(default=32767)),
                ('next_port', models.PositiveIntegerField(default=10000)),
                ('broker_secret_sha256', models.CharField(max_length=64)),
                ('token_sha256', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Instance',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.CharField(default=tenants.core.ids.instance_id, max_length=24, unique=True)),
                ('ordinal', models.PositiveSmallIntegerField(default=0)),
                ('state', models.CharField(choices=[('requested', 'Requested'), ('provisioning', 'Starting'), ('running', 'Running'), ('failed', 'Failed'), ('retiring', 'Stopping'), ('retired', 'Gone')], default='requested', max_length=16)),
                ('state_since', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='PeriodicRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=64, unique=True)),
                ('started_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('note', models.CharField(blank=True, max_length=300)),
            ],
        ),
        migrations.CreateModel(
            name='Member',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('email', models.EmailField(max_length=254)),
                ('language', models.CharField(default='en', max_length=8)),
                ('is_operator', models.BooleanField(default=False)),
                ('is_active', models.BooleanField(default=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
        ),
        migrations.CreateModel(
            name='ApiToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key_id', models.CharField(max_length=16, unique=True)),
                ('secret_sha256', models.CharField(max_length=64)),
                ('name', models.CharField(max_length=100)),
                ('is_operator', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('member', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='tokens', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='HostReport',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('seen_at', models.DateTimeField()),
                ('boot_id', models.CharField(max_length=64)),
                ('sequence', models.PositiveBigIntegerField()),
                ('digest', models.CharField(max_length=64)),
                ('inventory', models.JSONField(default=list)),
                ('used_cpu_millis', models.PositiveIntegerField(default=0)),
                ('used_memory_bytes', models.PositiveBigIntegerField(default=0)),
                ('used_disk_bytes', models.PositiveBigIntegerField(default=0)),
                ('host', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='report', to='tenants.host')),
            ],
        ),
        migrations.CreateModel(
            name='HostUsage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField()),
                ('samples', models.JSONField()),
                ('host', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='usage', to='tenants.host')),
            ],
        ),
        migrations.CreateModel(
            name='Decision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('host_name', models.CharField(blank=True, max_length=32)),
                ('outcome', models.CharField(help_text='placed, no_room or unseen', max_length=16)),
                ('reasons', models.JSONField(default=list)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('instance', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='decisions', to='tenants.instance')),
            ],
        ),
        migrations.CreateModel(
            name='Operation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.CharField(default=tenants.core.ids.operation_id, max_length=24, unique=True)),
                ('verb', models.CharField(choices=[('provision', 'Set up'), ('repair', 'Repair'), ('remove', 'Remove')], max_length=16)),
                ('state', models.CharField(choices=[('pending', 'Waiting'), ('running', 'Working'), ('succeeded', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='pending', max_length=16)),
                ('fence', models.PositiveBigIntegerField(default=0)),
                ('lease_owner', models.CharField(blank=True, max_length=80)),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('run_after', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('deadline_at', models.DateTimeField()),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('max_attempts', models.PositiveSmallIntegerField(default=8)),
                ('cancel_requested', models.BooleanField(default=False)),
                ('error_code', models.CharField(blank=True, max_length=40)),
                ('error_message', models.CharField(blank=True, max_length=500)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('instance', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='operations', to='tenants.instance')),
                ('requested_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='IdempotencyKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('principal', models.CharField(max_length=80)),
                ('key', models.CharField(max_length=255)),
                ('fingerprint', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), db_index=True)),
                ('operation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='tenants.operation')),
            ],
        ),
        migrations.CreateModel(
            name='Placement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('port', models.PositiveIntegerField()),
                ('cpu_millis', models.PositiveIntegerField()),
                ('memory_bytes', models.PositiveBigIntegerField()),
                ('disk_bytes', models.PositiveBigIntegerField()),
                ('reasons', models.JSONField(default=list)),
                ('since', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('until', models.DateTimeField(blank=True, null=True)),
                ('host', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='placements', to='tenants.host')),
                ('instance', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='placements', to='tenants.instance')),
            ],
        ),
        migrations.CreateModel(
            name='Plan',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(max_length=40, unique=True)),
                ('name_en', models.CharField(max_length=80)),
                ('name_ja', models.CharField(max_length=80)),
                ('summary_en', models.CharField(blank=True, max_length=200)),
                ('summary_ja', models.CharField(blank=True, max_length=200)),
                ('price_minor', models.PositiveIntegerField(help_text="per month, in the currency's minor unit")),
                ('currency', models.CharField(default='EUR', max_length=3)),
                ('cpu_millis', models.PositiveIntegerField()),
                ('memory_bytes', models.PositiveBigIntegerField()),
                ('pids', models.PositiveIntegerField()),
                ('disk_bytes', models.PositiveBigIntegerField()),
                ('is_public', models.BooleanField(default=True)),
                ('position', models.PositiveSmallIntegerField(default=0)),
            ],
            options={
                'ordering': ['position', 'slug'],
                'constraints': [models.CheckConstraint(condition=models.Q(('cpu_millis__gt', 0), ('disk_bytes__gt', 0), ('memory_bytes__gt', 0), ('pids__gt', 0)), name='plan_ceilings_are_above_zero')],
            },
        ),
        migrations.CreateModel(
            name='PortQuarantine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('port', models.PositiveIntegerField()),
                ('hostname', models.CharField(max_length=253)),
                ('released_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('waiting_for', models.JSONField(default=list, help_text='names of edges yet to acknowledge')),
                ('host', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='quarantined_ports', to='tenants.host')),
            ],
        ),
        migrations.CreateModel(
            name='Release',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('image_digest', models.CharField(max_length=71)),
                ('image_name', models.CharField(max_length=120)),
                ('container_port', models.PositiveIntegerField(default=8000)),
                ('health_path', models.CharField(blank=True, default='/healthz', max_length=200)),
                ('has_volume', models.BooleanField(default=True)),
                ('prior_cpu_millis', models.PositiveIntegerField(blank=True, null=True)),
                ('prior_memory_bytes', models.PositiveBigIntegerField(blank=True, null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('app', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='releases', to='tenants.app')),
            ],
            options={
                'ordering': ['app', '-number'],
            },
        ),
        migrations.AddField(
            model_name='instance',
            name='release',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='tenants.release'),
        ),
        migrations.CreateModel(
            name='Step',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField()),
                ('name', models.CharField(max_length=32)),
                ('state', models.CharField(choices=[('waiting', 'Next'), ('active', 'Now'), ('done', 'Done'), ('failed', 'Failed')], default='waiting', max_length=16)),
                ('detail', models.CharField(blank=True, max_length=300)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('operation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='steps', to='tenants.operation')),
            ],
            options={
                'ordering': ['position'],
            },
        ),
        migrations.CreateModel(
            name='Tenant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.CharField(default=tenants.core.ids.tenant_id, max_length=24, unique=True)),
                ('slug', models.CharField(max_length=40)),
                ('shop_name', models.CharField(max_length=80)),
                ('language', models.CharField(default='en', max_length=8)),
                ('state', models.CharField(choices=[('requested', 'Being set up'), ('live', 'Running'), ('failed', 'Set-up failed'), ('removing', 'Being removed'), ('removed', 'Removed')], default='requested', max_length=16)),
                ('state_since', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('fence', models.PositiveBigIntegerField(default=0)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('app', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='tenants.app')),
                ('plan', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='tenants.plan')),
            ],
        ),
        migrations.CreateModel(
            name='Route',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hostname', models.CharField(max_length=253, unique=True)),
                ('value', models.CharField(blank=True, max_length=120)),
                ('sequence', models.PositiveBigIntegerField(unique=True)),
                ('changed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='routes', to='tenants.tenant')),
            ],
        ),
        migrations.AddField(
            model_name='operation',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='operations', to='tenants.tenant'),
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('owner', 'Owner')], default='owner', max_length=16)),
                ('member', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='tenants.tenant')),
            ],
        ),
        migrations.AddField(
            model_name='instance',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='instances', to='tenants.tenant'),
        ),
        migrations.CreateModel(
            name='FirstLogin',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hash', models.CharField(max_length=200)),
                ('ciphertext', models.BinaryField(default=b'')),
                ('shown_at', models.DateTimeField(blank=True, null=True)),
                ('tenant', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='first_login', to='tenants.tenant')),
            ],
        ),
        migrations.CreateModel(
            name='Transition',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('subject', models.CharField(help_text='tenant, instance or operation', max_length=16)),
                ('subject_id', models.BigIntegerField()),
                ('old_state', models.CharField(max_length=16)),
                ('new_state', models.CharField(max_length=16)),
                ('reason', models.CharField(max_length=300)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'indexes': [models.Index(fields=['subject', 'subject_id', 'at'], name='transitions_of_a_subject')],
            },
        ),
        migrations.AddConstraint(
            model_name='member',
            constraint=models.UniqueConstraint(django.db.models.functions.text.Lower('email'), name='one_login_per_email'),
        ),
        migrations.AddConstraint(
            model_name='apitoken',
            constraint=models.CheckConstraint(condition=models.Q(('member__isnull', False), ('is_operator', True), _connector='OR'), name='token_belongs_to_a_member_or_the_operator'),
        ),
        migrations.AddConstraint(
            model_name='hostusage',
            constraint=models.UniqueConstraint(fields=('host', 'at'), name='one_usage_row_per_window'),
        ),
        migrations.AddIndex(
            model_name='decision',
            index=models.Index(fields=['instance', '-at'], name='decisions_of_an_instance'),
        ),
        migrations.AddConstraint(
            model_name='idempotencykey',
            constraint=models.UniqueConstraint(fields=('principal', 'key'), name='one_answer_per_key'),
        ),
        migrations.AddIndex(
            model_name='placement',
            index=models.Index(condition=models.Q(('until__isnull', True)), fields=['host'], name='open_placements_by_host'),
        ),
        migrations.AddConstraint(
            model_name='placement',
            constraint=models.UniqueConstraint(condition=models.Q(('until__isnull', True)), fields=('instance',), name='one_open_placement_per_instance'),
        ),
        migrations.AddConstraint(
            model_name='placement',
            constraint=models.UniqueConstraint(condition=models.Q(('until__isnull', True)), fields=('host', 'port'), name='one_open_placement_per_port'),
        ),
        migrations.AddIndex(
            model_name='portquarantine',
            index=models.Index(fields=['host', 'released_at'], name='oldest_released_port'),
        ),
        migrations.AddIndex(
            model_name='portquarantine',
            index=models.Index(fields=['hostname'], name='ports_behind_a_hostname'),
        ),
        migrations.AddConstraint(
            model_name='portquarantine',
            constraint=models.UniqueConstraint(fields=('host', 'port'), name='a_port_is_quarantined_once'),
        ),
        migrations.AddConstraint(
            model_name='release',
            constraint=models.UniqueConstraint(fields=('app', 'number'), name='release_numbers_are_unique'),
        ),
        migrations.AddConstraint(
            model_name='step',
            constraint=models.UniqueConstraint(fields=('operation', 'position'), name='steps_have_a_place'),
        ),
        migrations.AddIndex(
            model_name='tenant',
            index=models.Index(fields=['-created_at', '-id'], name='tenants_newest_first'),
        ),
        migrations.AddIndex(
            model_name='tenant',
            index=models.Index(fields=['state'], name='tenants_by_state'),
        ),
        migrations.AddIndex(
            model_name='tenant',
            index=models.Index(fields=['slug'], name='tenants_by_slug_prefix', opclasses=['varchar_pattern_ops']),
        ),
        migrations.AddConstraint(
            model_name='tenant',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'removed'), _negated=True), fields=('slug',), name='one_living_tenant_per_slug'),
        ),
        migrations.AddConstraint(
            model_name='tenant',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['requested', 'live', 'failed', 'removing', 'removed'])), name='tenant_state_is_known'),
        ),
        migrations.AddIndex(
            model_name='operation',
            index=models.Index(condition=models.Q(('state__in', ('pending', 'running'))), fields=['run_after'], name='open_operations_by_time'),
        ),
        migrations.AddIndex(
            model_name='operation',
            index=models.Index(fields=['-created_at', '-id'], name='operations_newest_first'),
        ),
        migrations.AddConstraint(
            model_name='operation',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ('pending', 'running'))), fields=('tenant',), name='one_open_operation_per_tenant'),
        ),
        migrations.AddConstraint(
            model_name='operation',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['pending', 'running', 'succeeded', 'failed', 'cancelled'])), name='operation_state_is_known'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('tenant', 'member'), name='one_membership_per_member'),
        ),
        migrations.AddConstraint(
            model_name='instance',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'retired'), _negated=True), fields=('tenant', 'ordinal'), name='one_living_instance_per_ordinal'),
        ),
        migrations.AddConstraint(
            model_name='instance',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['requested', 'provisioning', 'running', 'failed', 'retiring', 'retired'])), name='instance_state_is_known'),
        ),
    ]
