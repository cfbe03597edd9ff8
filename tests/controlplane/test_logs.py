"""What is logged is one JSON object a line, and holds no secret."""

import json
import os
import subprocess
import sys

import pytest

from controlplane.logs import HIDDEN, hide_secrets


@pytest.mark.parametrize(
    "name", ["password", "new_password", "api_token", "Authorization", "first_login_secret"]
)
def test_values_under_telling_names_are_hidden(name: str) -> None:
    assert hide_secrets(None, "info", {"event": "x", name: "s3cret"})[name] == HIDDEN


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("cannot reach redis://control:s3cret@127.0.0.1:1/0", "127.0.0.1:1/0"),
        ("sent Authorization: Bearer s3cret to it", "sent Authorization: Bearer"),
        ("used stoa_abc123_s3cret twice", "twice"),
        ("Service Unavailable: /internal/v1/x?until=9&signature=s3cret", "?until=9&signature="),
        ("GET https://s3.example/b/k?X-Amz-Signature=s3cret&X-Amz-Date=1", "&X-Amz-Date=1"),
    ],
)
def test_credentials_inside_a_sentence_are_hidden(text: str, kept: str) -> None:
    told = hide_secrets(None, "info", {"event": text})["event"]
    assert "s3cret" not in told
    assert kept in told


def test_a_line_of_the_standard_library_becomes_json_with_the_program_s_name() -> None:
    code = (
        "from controlplane import logs; import logging\n"
        "logs.configure(program='web', level='INFO', as_json=True)\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('x').exception('bad %s', 'luck')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    line = json.loads(done.stdout)
    assert (line["event"], line["program"], line["level"]) == ("bad luck", "web", "error")
    assert "ZeroDivisionError" in line["exception"]
