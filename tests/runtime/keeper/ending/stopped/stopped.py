"""Takes the stop signal in the way its MODE says, and writes its last words when it does."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def last_words(*_: object) -> None:
    time.sleep(0.3)
    Path(f"/data/{NAME}").write_text("saved")
    os._exit(0)


def by_signalfd() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    mask = ctypes.create_string_buffer(128)
    libc.sigemptyset(mask)
    libc.sigaddset(mask, signal.SIGTERM)
    os.read(libc.signalfd(-1, mask, 0), 128)


MODE = sys.argv[1] if len(sys.argv) > 1 else os.environ["MODE"]
NAME = "child" if len(sys.argv) > 1 else "last"
if MODE == "wrapped":
    # A shell form: the first process only waits, and does nothing about any signal.
    subprocess.run([sys.executable, "-I", __file__, "handler"], check=False)
    sys.exit(0)
if MODE == "handler":
    signal.signal(signal.SIGTERM, last_words)
if MODE in ("sigwait", "signalfd"):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
if MODE == "ignores":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = HTTPServer(("", int(os.environ["PORT"])), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
if MODE == "sigwait":
    signal.sigwait([signal.SIGTERM])
    last_words()
if MODE == "signalfd":
    by_signalfd()
    last_words()
while True:
    time.sleep(60)
