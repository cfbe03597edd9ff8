"""Run while the image is built: the program's bytecode, without its sources, into /app."""

import compileall
import pathlib
import py_compile
import shutil
import sys

source, target = pathlib.Path("/source"), pathlib.Path("/app")
shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
(target / "compile.py").unlink()
compiled = compileall.compile_dir(
    target,
    quiet=1,
    legacy=True,  # module.pyc beside where module.py was: found without a look at any source
    optimize=2,
    stripdir="/app/",
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
for path in target.rglob("*.py"):
    path.unlink()
for path in (target, *target.rglob("*")):
    path.chmod(0o755 if path.is_dir() else 0o644)
sys.exit(0 if compiled else 1)
