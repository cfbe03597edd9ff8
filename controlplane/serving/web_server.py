"""How gunicorn runs `web`: few threads, each for whole requests, and the same limits as the edge.

gunicorn -c python:controlplane.serving.web_server --bind ADDRESS controlplane.wsgi
"""

from controlplane.serving.takeover import on_reload, post_worker_init

__all__ = ["on_reload", "post_worker_init"]

worker_class = "controlplane.serving.worker.DoorWorker"
workers = 2
threads = 8
worker_connections = 2000
max_requests = 20000
max_requests_jitter = 2000
timeout = 60
graceful_timeout = 20
keepalive = 5
limit_request_line = 8190
limit_request_fields = 220
limit_request_field_size = 33000
sendfile = False  # answers are kept for slow readers (controlplane/serving/wire.py)
worker_tmp_dir = "/dev/shm"  # noqa: S108 - a heartbeat file that gunicorn opens and unlinks at once
control_socket_disable = True
