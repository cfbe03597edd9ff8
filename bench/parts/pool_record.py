"""A PostgreSQL of the bench's own, filled with a pool: hosts, tenants, instances and their placements."""

import io
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# Shops of a pool: mostly idle, busier by day, some much busier than others.
KINDS = 400
HOST_CPU_MILLIS = 16_000
HOST_MEMORY = 64 * 1024**3
HOST_DISK = 2 * 1024**4
_SEED = 20_261_124


@contextmanager
def database() -> Iterator[None]:
    """Start the server, point Django at it and make the tables; all gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="stoa-bench-", ignore_cleanup_errors=True) as place:
        home = Path(place)
        home.chmod(0o755)  # PostgreSQL runs as a user of its own in there
        _settings(home)
        from tests import servers

        with servers.postgres(home):
            create = ["createdb", "-h", str(home / "postgres"), "-U", "stoa", "stoa"]
            subprocess.run(create, check=True)
            import django
            from django.core.management import call_command

            django.setup()
            call_command("migrate", verbosity=0)
            try:
                yield
            finally:
                from django.db import connections

                connections.close_all()


def _settings(home: Path) -> None:
    from cryptography.fernet import Fernet

    secrets = home / "secrets"
    secrets.mkdir()
    (secrets / "django-secret-key").write_text("only for this bench")
    (secrets / "fernet-key").write_bytes(Fernet.generate_key())
    (secrets / "redis-control").write_text("only-for-this-bench")
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "controlplane.settings.base",
        "STOA_VAR": str(home),
        "STOA_SECRETS_DIR": str(secrets),
        "STOA_STATIC_ROOT": str(home),
        "STOA_HTTP_PORT": "8080",
        "STOA_DOMAIN": "localhost",
        "STOA_CONSOLE_HOST": "localhost",
        "STOA_PUBLIC_SCHEME": "http",
        "STOA_LOG_LEVEL": "WARNING",
        "DATABASE_URL": f"postgres://stoa@/stoa?host={home}/postgres",
        "STOA_BROKER_URL": "redis://control:only-for-this-bench@127.0.0.1:1/0",
    }


def fill(hosts: int, instances: int) -> None:
    """Hosts with their instances: a tenth nearly empty, the others about four fifths full."""
    from django.db import connection

    rng = np.random.default_rng(_SEED)
    with connection.cursor() as cursor:
        _set_defaults(cursor)
        cursor.execute(_CATALOGUE)
        cursor.execute(_TENANTS, [instances])
        shapes, amounts = _kinds(rng)
        kind = rng.integers(0, KINDS, instances)
        host = _spread(rng, hosts, instances)
        _copy_hosts(cursor, hosts, host, kind, shapes, amounts)
        _copy_placements(cursor, host, kind, shapes, amounts)
        cursor.execute(_REPORTS)
        cursor.execute("ANALYZE")


def _set_defaults(cursor: Any) -> None:
    """Give columns the defaults that the models know, so that rows can be written by the database."""
    from django.apps import apps
    from django.db import connection

    for name in ("plan", "app", "release", "tenant", "instance", "host", "hostreport", "placement"):
        model = apps.get_model("tenants", name)
        for field in model._meta.concrete_fields:  # noqa: SLF001 - Django's own way to look at models
            if field.primary_key or field.is_relation or field.null or field.has_db_default():
                continue
            value = field.get_default()
            if value is not None:
                cursor.execute(
                    f"ALTER TABLE {model._meta.db_table} "  # noqa: SLF001
                    f"ALTER COLUMN {field.column} SET DEFAULT %s",
                    [field.get_db_prep_save(value, connection)],
                )


_CATALOGUE = """
INSERT INTO tenants_plan (slug, name_en, name_ja, summary_en, summary_ja, price_minor, currency,
    cpu_millis, memory_bytes, pids, disk_bytes, egress_bytes_per_second, connections,
    new_connections_per_second, io_bytes_per_second, has_internet, is_public, position)
VALUES ('starter', 'Starter', 'Starter', '', '', 500, 'EUR', 1000, 1073741824, 64, 10737418240,
        0, 0, 0, 0, true, true, 0);
INSERT INTO tenants_app (slug, name) VALUES ('shop', 'Shop');
INSERT INTO tenants_release (app_id, number, image_digest, image_name, container_port, health_path,
    has_volume, image_source, writable_root, prior_cpu_millis, prior_memory_bytes)
SELECT id, 1, 'sha256:' || repeat('1', 64), 'shop', 8000, '/healthz', true, '', true, 60, 402653184
  FROM tenants_app;
"""
_TENANTS = """
INSERT INTO tenants_tenant (public_id, slug, shop_name, language, plan_id, app_id, state, fence)
SELECT 'ten_' || lpad(n::text, 16, '0'), 'shop-' || n, 'Shop ' || n, 'en',
       (SELECT id FROM tenants_plan), (SELECT id FROM tenants_app), 'live', 1
  FROM generate_series(1, %s) AS n;
INSERT INTO tenants_instance (public_id, tenant_id, ordinal, release_id, state)
SELECT 'ins_' || substr(public_id, 5), id, 0, (SELECT id FROM tenants_release), 'running'
  FROM tenants_tenant;
"""
_REPORTS = """
INSERT INTO tenants_hostreport (host_id, seen_at, boot_id, sequence, digest, inventory, conditions,
                                used_cpu_millis, used_memory_bytes, used_disk_bytes)
SELECT id, statement_timestamp() + interval '1 hour', 'b', 1, 'd',
       (SELECT jsonb_agg(jsonb_build_object('instance_id', 'ins_' || md5(n::text)))
          FROM generate_series(1, 100) AS n),
       '[]', booked_cpu_millis / 2, booked_memory_bytes, booked_disk_bytes
  FROM tenants_host
"""


def _kinds(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shapes [KINDS, 96] in sixty-fourths, and [KINDS, 3]: cpu_millis, memory, disk."""
    day = 1 + 0.6 * np.sin((np.arange(24) - 9) * np.pi / 12)
    mean = rng.lognormal(3.2, 0.9, (KINDS, 1)) * np.roll(day, 3)[None, :]
    traffic = rng.lognormal(7, 1.0, (KINDS, 1)) * day[None, :]
    shapes = np.concatenate([mean, 0.8 * mean, traffic, traffic], axis=1)
    shapes = np.round(shapes * 64) / 64
    memory = np.clip(rng.lognormal(19.6, 0.5, KINDS), 64 << 20, 1 << 30).astype(np.int64)
    disk = np.clip(rng.lognormal(21, 1.0, KINDS), 1 << 20, 10 << 30).astype(np.int64)
    return shapes, np.stack([np.ceil(mean.max(axis=1)).astype(np.int64), memory, disk], axis=1)


def _spread(rng: np.random.Generator, hosts: int, instances: int) -> np.ndarray:
    """The host (from 0) of each instance: one host in ten holds a few only."""
    weight = np.where(rng.random(hosts) < 0.1, 0.1, rng.uniform(0.9, 1.1, hosts))
    return rng.choice(hosts, instances, p=weight / weight.sum())


def _copy_hosts(cursor: Any, hosts: int, host: Any, kind: Any, shapes: Any, amounts: Any) -> None:
    loads = np.zeros((hosts, 144))
    full = np.concatenate([shapes, shapes[:, 24:48] ** 2, shapes[:, 72:96] ** 2], axis=1)
    sums = np.zeros((hosts, 3), np.int64)
    for start in range(0, len(host), 20_000):
        part = slice(start, start + 20_000)
        np.add.at(loads, host[part], full[kind[part]])
        np.add.at(sums, host[part], amounts[kind[part]])
    placed = np.bincount(host, minlength=hosts)
    spread = np.sqrt(0.1 * loads[:, 24:48] ** 2 + 0.9 * loads[:, 96:120])
    high = np.ceil((loads[:, :24] + 2.3263 * spread).max(axis=1)).astype(int)
    rows = io.StringIO()
    for n in range(hosts):
        rows.write(
            f"{n + 1}\thost-{n:04d}\t100.96.0.1\topen\tcrun\tzone-{n % 3}\t1\t{HOST_CPU_MILLIS}\t"
            f"{HOST_MEMORY}\t{HOST_DISK}\t0\t0\t0\t{high[n]}\t{sums[n, 1]}\t{sums[n, 2]}\t"
            f"{placed[n]}\t{_text(loads[n])}\t10000\t32767\t{10000 + placed[n]}\t{n:064d}\t{n:064d}\n"
        )
    rows.seek(0)
    cursor.copy_expert(
        "COPY tenants_host (id, name, address, state, engine, zone, epoch, capacity_cpu_millis, "
        "capacity_memory_bytes, capacity_disk_bytes, reserve_cpu_millis, reserve_memory_bytes, "
        "reserve_disk_bytes, booked_cpu_millis, booked_memory_bytes, booked_disk_bytes, placed, load, "
        "first_port, last_port, next_port, broker_secret_sha256, token_sha256) FROM STDIN",
        rows,
    )


def _copy_placements(cursor: Any, host: Any, kind: Any, shapes: Any, amounts: Any) -> None:
    cursor.execute("SELECT min(id) FROM tenants_instance")
    first = cursor.fetchone()[0]
    texts = [_text(shape) for shape in shapes]
    ports = np.full(host.max() + 1, 10_000)
    rows = io.StringIO()
    for n, (at, which) in enumerate(zip(host.tolist(), kind.tolist(), strict=True)):
        cpu, memory, disk = amounts[which].tolist()
        rows.write(
            f"{first + n}\t{at + 1}\t{ports[at]}\t{cpu}\t{memory}\t{disk}\t{texts[which]}\t"
            '["filled"]\n'
        )
        ports[at] += 1
    rows.seek(0)
    cursor.copy_expert(
        "COPY tenants_placement (instance_id, host_id, port, cpu_millis, memory_bytes, disk_bytes, "
        "shape, reasons) FROM STDIN",
        rows,
    )


def _text(values: np.ndarray) -> str:
    return "{" + ",".join(map(repr, values.tolist())) + "}"
