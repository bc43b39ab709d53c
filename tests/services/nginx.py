"""A throw-away nginx in a folder of its own, on 127.0.0.1, for the tests that are marked ``services``.

The binary is Debian's nginx-light. If it is missing it is installed with apt-get, which only root can do and which is
done only when PIPELINE_TEST_SERVICES=1; nothing of the system's own nginx, its files or its service, is touched, and
where a port is taken the server is not started.

::

    folder/nginx.conf   folder/html/…   folder/logs/…   folder/nginx.pid
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

BINARIES = ("nginx", "/usr/sbin/nginx")

CONFIGURATION = """\
daemon on;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/logs/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/logs/access.log;
    client_body_temp_path {folder}/temporary; proxy_temp_path {folder}/temporary;
    fastcgi_temp_path {folder}/temporary; uwsgi_temp_path {folder}/temporary; scgi_temp_path {folder}/temporary;
    default_type application/octet-stream;
    limit_conn_zone $binary_remote_addr zone=one:1m;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/html;
        location /whole/   {{ alias {folder}/html/; max_ranges 0; }}
        location /slow/    {{ alias {folder}/html/; limit_rate 300k; }}
        location /crowded/ {{ alias {folder}/html/; limit_rate 300k; limit_conn one 2; limit_conn_status 503; }}
        location /busy/    {{ add_header Retry-After 3 always; return 503; }}
        location /moved/   {{ return 302 /; }}
        location ~ ^/moved-(.*)$ {{ return 301 /$1; }}
        location /no-etag/ {{ alias {folder}/html/; etag off; }}
        location /nothing/ {{ alias {folder}/html/; etag off; if_modified_since off; add_header Last-Modified ""; }}
    }}
}}
"""


class NotAvailableError(Exception):
    """There is no nginx here, and none may be installed."""


def find_or_install():
    """Path of the binary."""
    if found := next(filter(None, map(shutil.which, BINARIES)), None):
        return found
    if os.environ.get("PIPELINE_TEST_SERVICES") != "1":
        raise NotAvailableError("nginx is not installed; PIPELINE_TEST_SERVICES=1 lets the tests install nginx-light")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotAvailableError("nginx is not installed, and only root of a Debian system can install it")
    # Debian would start the server of the system on port 80; a policy that forbids it is what packages honour.
    policy = Path("/usr/sbin/policy-rc.d")
    made_policy = not policy.exists()
    if made_policy:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in (["update"], ["install", "-y", "--no-install-recommends", "nginx-light"]):
            subprocess.run(["apt-get", "-q", *command], env=environment, capture_output=True, check=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NotAvailableError(f"nginx-light could not be installed: {error}") from error
    finally:
        if made_policy:
            policy.unlink()
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nginx:
    """A context manager; ``nginx.url`` is where it is, ``nginx.html`` the folder of its files."""

    def __init__(self, folder, port=None):
        self.binary = find_or_install()
        self.folder = Path(folder)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.html = self.folder / "html"

    def __enter__(self):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise NotAvailableError(f"something listens on port {self.port} already: it is left alone")
        for name in ("html", "logs", "temporary"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # Workers of a root nginx run as nobody, who cannot read folders of pytest; so they are told to stay root.
        user = "user root;\n" if os.geteuid() == 0 else ""
        configuration = self.folder / "nginx.conf"
        configuration.write_text(user + CONFIGURATION.format(folder=self.folder, port=self.port))
        self.run()
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise NotAvailableError(f"nginx does not answer: {(self.folder / 'logs/error.log').read_text()}")

    def run(self):
        """Start it."""
        command = [self.binary, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        command += ["-e", str(self.folder / "logs" / "error.log")]
        subprocess.run(command, check=True, capture_output=True)

    def master(self):
        """Process id of the one that was started here."""
        return int((self.folder / "nginx.pid").read_text())

    def workers(self):
        """Process ids of its workers."""
        parents = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        return [pid for pid, parent in parents.items() if parent == self.master()]

    def stop(self):
        """End it, and wait until its port is free."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = self.master()
            os.kill(pid, signal.SIGTERM)
            for _ in range(100):
                os.kill(pid, 0)
                time.sleep(0.05)

    def requests(self):
        """Lines of the access log."""
        return (self.folder / "logs" / "access.log").read_text().splitlines()

    def __exit__(self, *details):
        self.stop()
