"""A tenant that takes all it can get: one small image, one way of misbehaving for each value of BURN."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from bench.parts.common import REPO
from bench.parts.images import BUSYBOX
from bench.parts.peers import Image, output

# 192.0.2.0/24 is for documentation: nothing of it leaves the host.
SCRIPT = r"""#!/bin/busybox sh
export PATH=/bin
if [ "$BURN" != again ]; then httpd -p 8000 -h /www; fi
several() { n=0; while [ $n -lt "$1" ]; do n=$((n + 1)); "$2" & done; }
cpu() { while :; do :; done; }
memory() { while :; do tail /dev/zero; done; }
stream() {
  while :; do dd if=/dev/zero of=/data/stream bs=1M conv=fsync; rm -f /data/stream; done 2>/dev/null
}
small() {
  while :; do dd if=/dev/zero of=/data/small.$$ bs=4k count=1 conv=fsync; done 2>/dev/null
}
# awk goes on when a fork is refused, a shell would end.
bomb() { awk 'BEGIN { for (;;) system("sleep 1 & sleep 1 &") }' 2>/dev/null; }
out() { yes "GET /index.html 200 a visitor came and looked at everything there is"; }
short() { yes >&2; }
syn() { while :; do nc -w 1 192.0.2.1 80; done </dev/null 2>/dev/null; }
datagrams() { while :; do yes | nc -u 192.0.2.1 9; done 2>/dev/null; }
myself() { while :; do wget -q -O /dev/null http://127.0.0.1:8000/healthz; done 2>/dev/null; }
case "$BURN" in
  cpu) several 8 cpu ;;
  memory) several 4 memory ;;
  again)
    # The first process is the one that grows, so the container ends and is started again.
    httpd -f -p 8000 -h /www &
    usleep 500000
    exec tail /dev/zero ;;
  disk) several 1 stream; several 2 small ;;
  pids) several 8 bomb ;;
  log) several 2 out; several 1 short ;;
  network) several 24 syn; several 2 datagrams; several 4 myself ;;
esac
while :; do sleep 60 & wait; done
"""
_DOCKERFILE = """\
FROM scratch
COPY bin /bin
COPY www /www
EXPOSE 8000
VOLUME /data
ENTRYPOINT ["/bin/busybox", "sh", "/bin/burn"]
"""
_PROGRAMS = ("awk", "dd", "httpd", "nc", "rm", "sh", "sleep", "tail", "usleep", "wget", "yes")

KINDS = {
    "cpu": "8 endless loops",
    "memory": "4 processes that grow until they are ended, again and again",
    "again": "the first process grows, so the container is ended and started again",
    "disk": "one file to the limit, fsync, removed; 2 small files, fsync each time",
    "pids": "8 processes that start two more as fast as they can",
    "log": "3 writers at full speed, one of them two bytes a line",
    "network": "24 openers of connections, 2 senders of datagrams, 4 askers of itself",
}


def burner_image() -> Image:
    """The misbehaving image; built, or found built."""
    cache = os.environ.get("STOA_CACHE", str(REPO / "var" / "cache"))
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as context:
        programs, pages = Path(context) / "bin", Path(context) / "www"
        programs.mkdir()
        pages.mkdir()
        shutil.copy(BUSYBOX, programs)
        for name in _PROGRAMS:
            (programs / name).symlink_to("busybox")
        (programs / "burn").write_text(SCRIPT)
        (pages / "healthz").write_text("well\n")
        (Path(context) / "Dockerfile").write_text(_DOCKERFILE)
        argv = [str(REPO / "images" / "build"), "--cache", cache]
        facts = json.loads(output([*argv, "--context", context, "--name", "bench-burner"]))
    return Image(Path(facts["layout"]), facts["digest"])
