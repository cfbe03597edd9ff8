"""Settings of the control plane."""

from settings import common, inner, kinds
from settings.kinds import number
from settings.setting import BIN, CONTROL, NOTHING, Setting, WorkedOut

# --- Where copies of shops' data go -----------------------------------------------------------------
SNAPSHOTS = Setting(
    "STOA_SNAPSHOTS",
    kinds.matching(
        r"|/[^\s]+|s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._/-]*)?",
        "an absolute path or s3://<bucket>[/<prefix>]",
    ),
    WorkedOut("`$STOA_VAR/snapshots`", lambda environ: str(inner.VAR.of(environ) / "snapshots")),
    "where copies of shops' data go: a directory, or a bucket",
    BIN | CONTROL,
)
S3_ENDPOINT = Setting(
    "STOA_S3_ENDPOINT",
    kinds.matching(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", "https://<host>[:<port>]"),
    "https://s3.amazonaws.com",
    "the store of the bucket; its keys are the files `s3-access-key` and `s3-secret-key` among the secrets",
    CONTROL,
)
S3_REGION = Setting(
    "STOA_S3_REGION",
    kinds.matching(r"[A-Za-z0-9-]+", "a region such as us-east-1"),
    "us-east-1",
    "the bucket's region",
    CONTROL,
)
SNAPSHOTS_AT_ONCE = Setting(
    "STOA_SNAPSHOTS_AT_ONCE",
    number(1, 64),
    "4",
    "how many copies are made at the same time, in all",
    CONTROL,
)
SNAPSHOTS_PER_HOST = Setting(
    "STOA_SNAPSHOTS_PER_HOST",
    number(1, 16),
    "2",
    "how many copies are made at the same time on one host",
    CONTROL,
)
# --- How often one may try --------------------------------------------------------------------------
LOGINS_PER_QUARTER = Setting(
    "STOA_LOGINS_PER_QUARTER",
    number(0, 100_000),
    "10",
    "wrong log-ins with one e-mail from one address, or from one known browser; 0: no limit",
    CONTROL,
    unit="in a quarter of an hour",
)
SIGNUPS_PER_HOUR = Setting(
    "STOA_SIGNUPS_PER_HOUR",
    number(0, 1_000_000),
    "40",
    "sign-ups from one address, and by one login; 0: no limit. Operators' tokens are not counted",
    CONTROL,
    unit="in an hour",
)
SIGNUPS_IN_ALL_PER_HOUR = Setting(
    "STOA_SIGNUPS_IN_ALL_PER_HOUR",
    number(0, 1_000_000),
    "1000",
    "sign-ups by everybody together; 0: no limit",
    CONTROL,
    unit="in an hour",
)
SHOPS_PER_LOGIN = Setting(
    "STOA_SHOPS_PER_LOGIN",
    number(0, 100_000),
    "5",
    "living shops that a login may open itself; 0: any number. An operator may open more for it",
    CONTROL,
)
# --- Operations -------------------------------------------------------------------------------------
MOVES_AT_ONCE = Setting(
    "STOA_MOVES_AT_ONCE",
    number(1, 64),
    "8",
    "shops on their way to another host, in all",
    CONTROL,
)
MOVES_PER_HOST = Setting(
    "STOA_MOVES_PER_HOST", number(1, 64), "4", "shops on their way away from one host", CONTROL
)
LEASE_SECONDS = Setting(
    "STOA_LEASE_SECONDS",
    number(2, 600),
    "15",
    "after how long without a sign of its worker another takes an operation over",
    CONTROL,
    unit="seconds",
)
OPERATION_DEADLINE_SECONDS = Setting(
    "STOA_OPERATION_DEADLINE_SECONDS",
    number(10, 86_400),
    "300",
    "how long an operation may take beside the longest calls that it waits for",
    CONTROL,
    unit="seconds",
)
# --- Who gets mail of alarms ------------------------------------------------------------------------
ALARM_MAIL = Setting(
    "STOA_ALARM_MAIL",
    kinds.MAILS,
    "operator@localhost",
    "who is mailed of alarms",
    CONTROL,
)
ALARM_MAIL_FROM = Setting(
    "STOA_ALARM_MAIL_FROM",
    kinds.MAIL,
    WorkedOut(
        "`stoa@<STOA_CONSOLE_HOST>`", lambda environ: f"stoa@{common.CONSOLE_HOST.text(environ)}"
    ),
    "from whom these mails come",
    CONTROL,
)
SMTP_URL = Setting(
    "STOA_SMTP_URL",
    kinds.url(
        ("smtp", "smtp+tls", "smtps"),
        "smtp://, smtp+tls:// (STARTTLS) or smtps:// with [user@]host[:port], or nothing; the password"
        " belongs into the file smtp-password in $STOA_VAR/secrets",
        with_user=True,
    ),
    WorkedOut("nothing: mails go into `$STOA_VAR/outbox`"),
    "the mail server",
    BIN | CONTROL,
)
ALARM_WEBHOOK = Setting(
    "STOA_ALARM_WEBHOOK",
    kinds.url(
        ("https", "http"),
        "https://host[:port]/path (or http://) without user and password, or nothing; what is sent there is"
        " signed with the file alarm-webhook-key in $STOA_VAR/secrets",
        with_user=False,
    ),
    NOTHING,
    "an address that alarms are POSTed to",
    BIN | CONTROL,
)
