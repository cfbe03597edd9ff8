"""HAProxy rules that answer with a page of ours; see pages.py for what the pages say."""

from pathlib import Path

from runtime.edge.config import EdgeConfig

# API clients get a problem document, everybody else a page; two ACLs of door.py.
FOR_PROGRAMS = "console to_api"
# At a shop's address they are clients that ask for JSON and not for a page; two ACLs of haproxy_cfg.py.
FOR_PROGRAMS_OF_SHOPS = "asks_for_json !asks_for_page"


def page(config: EdgeConfig, name: str) -> Path:
    """Return the path of a page file."""
    return config.state_dir / "pages" / name


def returned(config: EdgeConfig, status: int, name: str, *, retry_after: int = 0) -> str:
    """Return one `http-request return` with a page of ours for people, without its condition."""
    parts = [
        f"http-request return status {status}",
        'content-type "text/html; charset=utf-8"',
        f"file {page(config, f'{name}.html')}",
        "hdr Cache-Control no-store",
    ]
    if retry_after:
        parts.append(f"hdr Retry-After {retry_after}")
    return " ".join(parts)


def returned_to_programs(config: EdgeConfig, status: int, name: str) -> str:
    """Return the same as a problem document; its file has its head, too."""
    return f"http-request return status {status} errorfile {page(config, f'{name}-json.http')}"


def refused(
    config: EdgeConfig,
    status: int,
    name: str,
    condition: str,
    *,
    retry_after: int = 0,
    programs: str = FOR_PROGRAMS,
) -> str:
    """Two rules: the same refusal for programs, which a condition tells, and for people."""
    for_programs = returned_to_programs(config, status, name)
    for_people = returned(config, status, name, retry_after=retry_after)
    return f"    {for_programs} if {programs} {condition}\n    {for_people} if {condition}"
