"""A container that costs next to nothing itself, so that what is measured is the engine."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from bench.parts.common import REPO
from bench.parts.peers import Image, output

BUSYBOX = Path("/bin/busybox")
_DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY healthz /www/healthz
USER 1000:1000
EXPOSE 8000
ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", "/www"]
"""


def tiny_image() -> Image:
    """A static busybox that serves one file on port 8000; built, or found built."""
    cache = os.environ.get("STOA_CACHE", str(REPO / "var" / "cache"))
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as context:
        shutil.copy(BUSYBOX, context)
        (Path(context) / "healthz").write_text("well\n")
        (Path(context) / "Dockerfile").write_text(_DOCKERFILE)
        argv = [str(REPO / "images" / "build"), "--cache", cache]
        facts = json.loads(output([*argv, "--context", context, "--name", "bench-tiny"]))
    return Image(Path(facts["layout"]), facts["digest"])
