"""Waits until a sign-up would succeed, and says where everything is."""

import http.client
import subprocess

from installer.control import record
from installer.installation import Installation
from installer.progress import InstallError
from settings import common, hosts, inner

_SIGNUP_SECONDS = 90
_PAGE_SECONDS, _PAGE_ANSWER_SECONDS = 30.0, 5.0
_HOSTS_SECONDS = 60.0


def wait(of: Installation) -> None:
    """Wait for it; InstallError when it does not come."""
    of.say("waiting until a sign-up would succeed")
    since = ("--since", f"{of.programs_since:.6f}")
    check = ("check_signup", "--wait", str(_SIGNUP_SECONDS), "--even-frozen", *since)
    if subprocess.run(of.enter("manage.py", *check), env=of.environ, check=False).returncode:
        of.supervisor().complain_of_unwell()
        raise InstallError(
            "Stoa runs, but a sign-up would not succeed",
            f"logs: {of.var}/logs/",
            f"what runs: bin/stoa-env supervisorctl -c {of.var}/run/supervisord.conf status",
        )
    of.wait_for("the console page through the edge", _PAGE_SECONDS, lambda: _console_answers(of))
    if of.has_further_hosts:
        number = hosts.HOSTS.of(of.environ)
        of.wait_for(
            f"a report of each of the {number} hosts",
            _HOSTS_SECONDS,
            lambda: _heard(of) >= number,
        )


def sign_up_demo(of: Installation) -> None:
    """Sign up a demo shop through the public API."""
    of.say("signing up a demo shop through the public API")
    argv = of.enter("python", str(inner.REPO / "deploy/demo.py"))
    if subprocess.run(argv, env=of.environ, check=False).returncode:
        of.supervisor().complain_of_unwell()
        raise InstallError("the demo shop could not be signed up")


def tell(of: Installation) -> None:
    """Say where everything is."""
    of.say("ready")
    console, name = inner.CONSOLE_URL.text(of.environ), common.CONSOLE_HOST.text(of.environ)
    shops = console.replace(name, f"<name>.{common.DOMAIN.text(of.environ)}", 1)
    containers = "Containers  bin/stoa-env python -m runtime ps"
    of.say.line(
        f"""
  Sign up, log in     {console}/
  Operator's pages    {console}/operator/   (login: {of.var}/operator-login)
  API                 {console}/api/docs/   (token: {of.var}/operator-token)
  Shops               {shops}/
  Stop                bin/down        Logs  {of.var}/logs/        {containers}"""
    )


def _console_answers(of: Installation) -> bool:
    port = common.HTTP_PORT.of(of.environ)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PAGE_ANSWER_SECONDS)
    try:
        connection.request("GET", "/", headers={"Host": common.CONSOLE_HOST.text(of.environ)})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return answer.status < http.client.BAD_REQUEST
    finally:
        connection.close()


def _heard(of: Installation) -> int:
    """Return how many hosts have reported of late, and since they were started."""
    seen = f"""SELECT count(*) FROM tenants_hostreport WHERE seen_at >
        GREATEST(now() - interval '10 seconds', to_timestamp({of.programs_since:.6f}))"""  # noqa: S608 - our number
    return int(record.value(of.environ, seen) or 0)
