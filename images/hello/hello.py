"""Answers every path with what the platform passed to this container, in plain http.server."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        told = "".join(f"{k}={v}\n" for k, v in sorted(os.environ.items()) if k.startswith("STOA_"))
        body = f"Hello from {os.environ.get('STOA_TENANT', 'nobody')}\n{told}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Hello).serve_forever()
