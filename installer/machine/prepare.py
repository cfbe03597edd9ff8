"""What a machine needs before anything of Stoa runs on it: packages, .venv, compiled translations."""

from installer.machine import packages, virtualenv
from installer.progress import Steps


def prepare(kind: str, say: Steps) -> None:
    """Install what is missing. kind: host (shops and no control plane), server or developer."""
    packages.ensure(kind, say)
    virtualenv.ensure(say)
    if kind != "host":
        virtualenv.compile_languages()
