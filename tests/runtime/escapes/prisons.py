"""A container image with a Python of this machine's, small enough to be made for a test run."""

import functools
import os
import subprocess
import sys
from pathlib import Path

from tests.runtime.image.layouts import Entry, directory, layer, symlink

HERE = Path(__file__).parent
# All that attempts/ and the tests' own one-liners import, and what those import.
_MODULES = (
    "ctypes errno json mmap os functools resource select signal socket stat struct sys time"
    " fcntl threading"
)
PYTHON = "/usr/bin/python3"
# With the names of attempts as arguments, in the directory that holds attempts/.
TRY = "from attempts.everything import main; main()"


@functools.cache
def python_layer() -> bytes:
    """The interpreter that runs the tests, its libraries, the modules above, and attempts/."""
    program = Path(sys.executable).resolve()
    loaded = _said(str(program), "-S", "-c", _LIST_MODULES)
    paths = {Path(line) for line in loaded if line}
    extensions = [str(path) for path in paths if path.suffix == ".so"]
    libraries = {
        Path(word)
        for line in _said("ldd", str(program), *extensions)
        for word in line.split()
        if word.startswith("/") and not word.endswith(":")
    }
    files = {str(path): path for path in paths | libraries}
    files[str(program)] = program
    entries = [
        Entry(name.lstrip("/"), path.read_bytes(), mode=0o755)
        for name, path in sorted(files.items())
    ]
    if str(program) != PYTHON:
        entries.append(symlink(PYTHON.lstrip("/"), str(program)))
    attempts = [
        Entry(f"attempts/{path.name}", path.read_bytes())
        for path in sorted((HERE / "attempts").glob("*.py"))
    ]
    return layer(*entries, directory("attempts"), *attempts)


_LIST_MODULES = f"""
import encodings.utf_8, encodings.latin_1, encodings.ascii, encodings.idna
import {", ".join(_MODULES.split())}
for module in list(sys.modules.values()):
    path = getattr(module, "__file__", None)
    if path:
        print(path)
print(os.__file__)
"""


def _said(*argv: str) -> list[str]:
    env = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=env)
    return done.stdout.splitlines()
