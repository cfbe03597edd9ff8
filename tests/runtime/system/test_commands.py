"""Programs are run with a time limit, bounded output and clear errors."""

import time
from pathlib import Path

import pytest

from runtime.errors import CommandFailedError
from runtime.system.commands import OUTPUT_LIMIT, run, run_unchecked


def test_output_and_input_pass_and_both_streams_are_kept() -> None:
    done = run("sh", "-c", "cat; echo problem >&2", timeout=5, stdin=b"given\n")
    assert (done.exit_code, done.output) == (0, "given\nproblem\n")


def test_an_exit_code_that_was_not_expected_is_an_error_with_the_last_words() -> None:
    with pytest.raises(CommandFailedError, match="sh ended with exit code 4: so sorry"):
        run("sh", "-c", "echo so sorry; exit 4", timeout=5)
    assert run("sh", "-c", "exit 4", timeout=5, ok=frozenset({4})).exit_code == 4


def test_a_program_that_takes_too_long_is_killed_with_its_children() -> None:
    began = time.monotonic()
    with pytest.raises(CommandFailedError, match=r"did not end within 0\.2 s and was killed"):
        run("sh", "-c", "echo begun; sleep 60 & sleep 60", timeout=0.2)
    assert time.monotonic() - began < 5


def test_a_program_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(CommandFailedError, match="no-such-program cannot be started"):
        run("no-such-program", timeout=5)


def test_output_without_end_is_cut_and_does_not_block_the_program() -> None:
    done = run_unchecked("sh", "-c", "head -c 300000 /dev/zero", timeout=10)
    assert (done.exit_code, len(done.output)) == (0, OUTPUT_LIMIT)


def test_a_killed_program_shows_as_shells_show_it() -> None:
    assert run_unchecked("sh", "-c", "kill -9 $$", timeout=5).exit_code == 137


def test_no_descriptor_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    run("true", timeout=5)
    with pytest.raises(CommandFailedError):
        run("no-such-program", timeout=5)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
