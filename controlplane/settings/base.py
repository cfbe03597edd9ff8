"""Django's settings for every control program. What people may set is declared in settings/. It comes from
the environment, which bin/stoa-env makes for one machine, docker-compose.yml for containers.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from controlplane import logs
from controlplane.settings import env
from controlplane.settings.env import given
from settings import common, control, edges, hosts, inner
from settings.site import console_url, port_suffix

REPO = Path(__file__).resolve().parent.parent.parent

# --- What this Stoa is called and where it answers -------------------------------------------------
STOA_VAR = given(inner.VAR)
STOA_IMAGES = given(inner.IMAGES)
STOA_SCOPE = given(common.SCOPE)
STOA_HTTP_PORT = given(common.HTTP_PORT)
STOA_DOMAIN = given(common.DOMAIN)
STOA_CONSOLE_HOST = given(common.CONSOLE_HOST)
STOA_PUBLIC_SCHEME = given(common.PUBLIC_SCHEME)
# The port people see: behind another proxy or a port forward it is not the port we listen on.
STOA_PUBLIC_PORT = given(common.PUBLIC_PORT)
STOA_PROGRAM = given(inner.PROGRAM)

# --- Where hosts on other machines come ("": there are none) ----------------------------------------
STOA_POOL_ADDRESS = str(given(common.POOL_ADDRESS) or "")
STOA_DEPOT_PORT = given(inner.DEPOT_PORT)
STOA_REDIS_PORT = given(inner.REDIS_PORT)
# Where edges route to, and so where hosts may publish ports; (): that is not looked at.
_has_networks = STOA_POOL_ADDRESS or os.environ.get(edges.NETWORKS.name)
STOA_EDGE_NETWORKS = given(edges.NETWORKS) if _has_networks else ()
STOA_PORTS = given(hosts.PORTS)
STOA_EDGE_SOURCES = tuple(map(str, given(hosts.EDGE_SOURCES)))
STOA_EDGE_ADDRESSES = tuple(map(str, given(hosts.EDGE_ADDRESSES)))
STOA_CONSOLE_URL = console_url(os.environ)
# A shop's address: STOA_SHOP_URL.format(slug="acme")
STOA_SHOP_URL = f"{STOA_PUBLIC_SCHEME}://{{slug}}.{STOA_DOMAIN}{port_suffix(os.environ)}"

# --- How long things may take, in seconds -----------------------------------------------------------
LEASE_SECONDS = given(control.LEASE_SECONDS)
OPERATION_DEADLINE_SECONDS = given(control.OPERATION_DEADLINE_SECONDS)

# --- Shops on their way to another host -------------------------------------------------------------
# Who says whether a host's shops have room elsewhere: tenants asks, and may not import the scheduler.
DRAIN_JUDGE = "workers.usage.forecast.room_elsewhere"
STOA_MOVES_AT_ONCE = given(control.MOVES_AT_ONCE)
STOA_MOVES_PER_HOST = given(control.MOVES_PER_HOST)

# --- Where tenants' data is kept off their hosts -------------------------------------------------------
STOA_SNAPSHOTS = given(control.SNAPSHOTS)
STOA_REPOSITORY_CLASS = (
    "tenants.snapshots.repositories.s3.S3Repository"
    if STOA_SNAPSHOTS.startswith("s3:")
    else "tenants.snapshots.repositories.directory.DirectoryRepository"
)
STOA_S3_ENDPOINT = given(control.S3_ENDPOINT)
STOA_S3_REGION = given(control.S3_REGION)
STOA_SNAPSHOTS_AT_ONCE = given(control.SNAPSHOTS_AT_ONCE)
STOA_SNAPSHOTS_PER_HOST = given(control.SNAPSHOTS_PER_HOST)

# --- How often one may try (0: no limit; operators' tokens have none) -------------------------------
STOA_SIGNUPS_PER_HOUR = given(control.SIGNUPS_PER_HOUR)
STOA_LOGINS_PER_QUARTER = given(control.LOGINS_PER_QUARTER)
# All sign-ups by people together, and the living shops a login may open itself: nothing proves a person.
STOA_SIGNUPS_IN_ALL_PER_HOUR = given(control.SIGNUPS_IN_ALL_PER_HOUR)
STOA_SHOPS_PER_LOGIN = given(control.SHOPS_PER_LOGIN)

# --- How much a request may bring: the edge refuses more of it (docs/operating.md, limits) -------------
STOA_BODY_BYTES = DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
FILE_UPLOAD_HANDLERS: list[str] = []  # no view takes files: nothing is ever spooled

# --- Secrets: files, never variables ----------------------------------------------------------------
STOA_SECRETS_DIR = given(inner.SECRETS_DIR)
# The certificate of the pool's CA, by which agents know the depot and the broker.
STOA_CONTROL_CA = given(inner.CONTROL_CA) or STOA_SECRETS_DIR / "pool-ca.crt"
SECRET_KEY = env.secret(STOA_SECRETS_DIR, "django-secret-key")
FERNET_KEY = env.secret(STOA_SECRETS_DIR, "fernet-key")  # first-login secrets until shown once

# --- Who receives alarms --------------------------------------------------------------------------------
STOA_ALARM_MAIL = ",".join(given(control.ALARM_MAIL))  # addresses, commas between
STOA_ALARM_MAIL_FROM = given(control.ALARM_MAIL_FROM)
# smtp://, smtp+tls:// or smtps://[user@]host[:port]; "": mails are written to STOA_VAR/outbox.
STOA_SMTP_URL = given(control.SMTP_URL)
STOA_ALARM_WEBHOOK = given(control.ALARM_WEBHOOK)
SMTP_PASSWORD = env.secret_if(STOA_SECRETS_DIR, "smtp-password", wanted="@" in STOA_SMTP_URL)
ALARM_WEBHOOK_KEY = env.secret_if(
    STOA_SECRETS_DIR, "alarm-webhook-key", wanted=bool(STOA_ALARM_WEBHOOK)
)

# --- Django -----------------------------------------------------------------------------------------
DEBUG = False
ROOT_URLCONF = "controlplane.depot.urls" if STOA_PROGRAM == "depot" else "controlplane.urls"
WSGI_APPLICATION = "controlplane.wsgi.application"
# People come by the console host; agents and monitoring by the address they were given.
_control_host = urlsplit(given(inner.CONTROL_URL)).hostname
_pool_names = set(given(common.POOL_NAMES))
ALLOWED_HOSTS = sorted(
    {STOA_CONSOLE_HOST, _control_host or "127.0.0.1", "127.0.0.1", "localhost"}
    | _pool_names
    | ({STOA_POOL_ADDRESS} if STOA_POOL_ADDRESS else set())
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "tenants.Member"
# E003 does not see that a constraint on lower(email) makes log-ins unique.
SILENCED_SYSTEM_CHECKS = ["auth.E003"]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/shops/"
LOGOUT_REDIRECT_URL = "/"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "tenants",
    "tenants.web",
    "controlplane",
    "controlplane.dashboard",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "tenants.http.strict_requests.StrictRequests",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

if STOA_PROGRAM == "depot":  # for agents: no sessions, forms, languages or pages
    MIDDLEWARE = ["tenants.http.strict_requests.StrictRequests"]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [REPO / "controlplane" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
            ]
        },
    }
]

# --- Data -------------------------------------------------------------------------------------------
# How long a statement may wait for a lock, and last, in milliseconds. Somebody waits in front of the web
# with one of its few threads; workers repeat what did not end; commands by hand (migrations) take their time.
_LIMITS_MS = {
    "web": (3000, 10000),
    "events": (3000, 10000),
    "depot": (5000, 30000),
    "control": (10000, 60000),
    "sweep": (10000, 120000),
}
_lock_ms, _statement_ms = _LIMITS_MS.get(STOA_PROGRAM, (0, 0))
DATABASES = {"default": env.database("DATABASE_URL")}
_given = DATABASES["default"].get("OPTIONS", {})
DATABASES["default"] |= {
    "ENGINE": "controlplane.database",  # a dead connection is replaced before its next use
    "CONN_MAX_AGE": None,  # what a session has learnt of the tables costs 15 ms to learn again
    "OPTIONS": {
        **_given,
        "connect_timeout": 3,
        # A server whose machine lost power says nothing: over TCP it is given up after 10 to 15 s, and gives
        # our session, with what it had locked, up as soon. A unix socket ignores these.
        "keepalives_idle": 5,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 10000,
        "options": " ".join(
            [
                f"-c lock_timeout={_lock_ms} -c statement_timeout={_statement_ms}",
                "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3",
                str(_given.get("options", "")),
            ]
        ).strip(),
        "application_name": f"stoa {STOA_PROGRAM}",
    },
}
# Nothing is cached: what must be counted is counted in PostgreSQL (core/brakes.py).
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
SESSION_COOKIE_AGE = 14 * 24 * 3600

# --- Languages and time -----------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ja", _("Japanese"))]
LOCALE_PATHS = [REPO / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# --- Static files: hashed names, served by WhiteNoise -------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = given(inner.STATIC_ROOT)
STATICFILES_DIRS = [
    folder for folder in (REPO / "controlplane" / "static", REPO / "static") if folder.is_dir()
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "controlplane.serving.static_storage.StaticStorage"},
}

# --- Security ---------------------------------------------------------------------------------------
_https = STOA_PUBLIC_SCHEME == "https"
PASSWORD_HASHERS = [
    "tenants.accounts.passwords.BoundedArgon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# The edge deletes what clients send under this name and sets its own (docs/architecture.md).
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_TRUSTED_ORIGINS = [STOA_CONSOLE_URL]
CSRF_FAILURE_VIEW = "tenants.web.signup.views.form_expired"
# Browsers accept __Host- names over https only: there, no shop can set or shadow our cookies.
SESSION_COOKIE_NAME = "__Host-stoa-session" if _https else "stoa-session"
CSRF_COOKIE_NAME = "__Host-stoa-csrf" if _https else "stoa-csrf"
LANGUAGE_COOKIE_NAME = "__Host-stoa-language" if _https else "stoa-language"
STOA_BROWSER_COOKIE_NAME = "__Host-stoa-browser" if _https else "stoa-browser"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = _https
SESSION_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- REST API ---------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    # tenants/api/base.py names ours; nothing else may be asked by session.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tenants.api.problems.handle",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Stoa",
    "DESCRIPTION": "Sign up shops, watch their operations, remove them. Beside what is said of each,"
    " every address may answer 400 (no JSON), 405, 413, 415, 422 (a parameter that it does not have),"
    " 429, 500 and 503, always with a problem.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": "/api/v1",  # so that end points are grouped by what they are about
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# --- Celery (docs/decisions say why each) -------------------------------------------------------------
STOA_BROKER_URL = given(inner.BROKER_URL)
CELERY_BROKER_URL = STOA_BROKER_URL
CELERY_RESULT_BACKEND = STOA_BROKER_URL
CELERY_IMPORTS = ["workers.tasks"]
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True  # control tasks write to PostgreSQL; only calls to agents answer
CELERY_RESULT_EXPIRES = 300
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_ACKS_ON_FAILURE = True
CELERY_TASK_ACKS_ON_TIMEOUT = True
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_PUBLISH_RETRY = False  # the sweep is the guarantee; nobody waits for a broken broker
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # leases decide, not the broker
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# A full Redis refuses to write what a worker has taken: an error of the channel, for which Celery would end.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_TIMEZONE = "UTC"
# A worker's blocking read lasts a second, so only programs that merely publish may be this impatient.
_consumes = STOA_PROGRAM in {"control", "sweep"}
_socket_timeout = 15.0 if _consumes else 1.0
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "priority_steps": [0],
    "socket_connect_timeout": 1.0,
    "socket_timeout": _socket_timeout,
    "socket_keepalive": True,
    "health_check_interval": 25,
    # Who merely publishes tries once: with kombu's own repeats a hanging Redis held a sign-up for 4 s.
    **({} if _consumes else {"max_retries": 0}),
}
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 1.0
CELERY_REDIS_SOCKET_TIMEOUT = _socket_timeout
CELERY_REDIS_SOCKET_KEEPALIVE = True

# --- Logs: one JSON object a line, to stdout ----------------------------------------------------------
LOGGING_CONFIG = None
logs.configure(program=STOA_PROGRAM, level=given(common.LOG_LEVEL), as_json=True)
