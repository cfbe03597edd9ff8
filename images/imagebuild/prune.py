"""What the base leaves out of Debian's packages, and why: kept small, yet a whole Python 3.11."""

from __future__ import annotations

import shutil
from pathlib import Path

STDLIB = "usr/lib/python3.11"

# Patterns below the root. Licences (usr/share/doc/*/copyright) stay: the files are redistributed.
UNWANTED = (
    # documentation, packaging hooks, start-up units, menus
    "usr/share/man",
    "usr/share/lintian",
    "usr/share/binfmts",
    "usr/share/applications",
    "usr/share/pixmaps",
    "usr/share/gconv",
    "usr/share/doc/*/*[!t]",
    "usr/share/doc/*/changelog*",
    "usr/lib/binfmt.d",
    "usr/sbin",
    "sbin",
    "etc/ca-certificates",
    "etc/python3.11",
    # C library extras: character sets for iconv(3), debuggers' and profilers' helpers, NIS
    "usr/lib/*/gconv",
    "usr/lib/*/audit",
    "usr/lib/*/libc_malloc_debug.so*",
    "usr/lib/*/libmemusage.so*",
    "usr/lib/*/libpcprofile.so*",
    "usr/lib/*/libthread_db.so*",
    "usr/lib/*/libBrokenLocale.so*",
    "usr/lib/*/libnsl.so*",
    "usr/lib/*/libnss_compat.so*",
    "usr/lib/*/libnss_hesiod.so*",
    "usr/lib/*/libexpatw.so*",
    # OpenSSL's retired algorithms and hardware engines
    "usr/lib/*/ossl-modules",
    "usr/lib/*/engines-3",
    # tests, teaching, desktop and installers
    *(
        f"{STDLIB}/{name}"
        for name in (
            "EXTERNALLY-MANAGED __hello__.py __phello__ _aix_support.py _bootsubprocess.py "
            "_distutils_system_mod.py _osx_support.py antigravity.py config-* curses distutils "
            "ensurepip idlelib lib2to3 pydoc_data sitecustomize.py test this.py tkinter turtle.py "
            "turtledemo venv webbrowser.py"
        ).split()
    ),
    # "dead batteries" (PEP 594), less cgi, which older web libraries still import
    *(
        f"{STDLIB}/{name}.py"
        for name in (
            "aifc cgitb chunk crypt imghdr mailcap nntplib pipes smtpd sndhdr sunau "
            "telnetlib uu xdrlib"
        ).split()
    ),
    # extension modules whose C library is not in the image, or that only test the interpreter
    *(
        f"{STDLIB}/lib-dynload/{name}.*.so"
        for name in (
            "_crypt _ctypes_test _curses _curses_panel _dbm _lsprof _testbuffer _testcapi _testclinic "
            "_testimportmultiple _testinternalcapi _testmultiphase _xxsubinterpreters _xxtestfuzz "
            "audioop nis ossaudiodev readline xxlimited xxlimited_35"
        ).split()
    ),
)


def merge_usr(root: Path) -> None:
    """Move /lib and /lib64 below /usr, as every installed Debian 12 has it: fewer places to search."""
    for name in ("lib", "lib64"):
        old = root / name
        for source in sorted(old.rglob("*")):
            target = root / "usr" / source.relative_to(root)
            if source.is_dir() and not source.is_symlink():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                _place(source, target)
        shutil.rmtree(old, ignore_errors=True)
        if (root / "usr" / name).is_dir():
            old.symlink_to(f"usr/{name}")


def _place(source: Path, target: Path) -> None:
    """Move one file; the loader's absolute link in /lib64 must survive /lib being a link itself."""
    if not source.is_symlink():
        source.rename(target)
        return
    link = str(source.readlink())
    target.symlink_to(f"/usr{link}" if link.startswith("/lib/") else link)


def prune(root: Path) -> None:
    """Remove UNWANTED, everything in usr/bin but the interpreter, and links that lead nowhere."""
    for pattern in UNWANTED:
        for found in sorted(root.glob(pattern)):
            _remove(found)
    for program in sorted((root / "usr/bin").iterdir()):
        if program.name != "python3.11":
            _remove(program)
    stdlib = root / STDLIB
    for link in sorted(path for path in root.rglob("*") if path.is_symlink()):
        inside = link.parent / link.readlink()
        leads = (
            (root / str(link.readlink()).lstrip("/")) if link.readlink().is_absolute() else inside
        )
        if not leads.exists():
            link.unlink()
        elif link.parent == stdlib and link.suffix == ".py":
            content = link.read_bytes()  # a second name would be compiled through the link
            link.unlink()
            link.write_bytes(content)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
