"""A throw-away S3 server in a folder of its own, on 127.0.0.1, for the tests that are marked ``services``.

OpenStack Swift with its S3 interface, from PyPI, in a virtual environment of its own, which is made only when
PIPELINE_TEST_SERVICES=1: eight seconds of processor time to install, six to start. It checks signatures, keeps objects
on disk, and its object server is a process that can be stopped. The file system has to have user extended attributes.

::

    folder/venv/…   folder/etc/*.conf, *.ring.gz   folder/node/disk/…   folder/log/…
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

REQUIREMENT = "swift==2.38.3"
KEY, SECRET = "test:tester", "testing"
KINDS = ("account", "container", "object", "proxy")

SWIFT = """\
[swift-hash]
swift_hash_path_prefix = a
swift_hash_path_suffix = b
[storage-policy:0]
name = default
default = yes
"""

COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}/etc
log_level = WARNING
"""

STORAGE = """\
devices = {folder}/node
mount_check = false
fallocate_reserve = 0
disable_fallocate = true
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""

PROXY = """\
[pipeline:main]
pipeline = catch_errors cache listing_formats bulk s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
node_timeout = 60
recoverable_node_timeout = 60
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{unused}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""

RINGS = """\
import json, sys
from swift.common.ring import RingBuilder

for kind, port in json.loads(sys.argv[2]).items():
    builder = RingBuilder(4, 1, 1)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1",
                     "replication_port": port, "device": "disk", "weight": 1, "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{kind}.ring.gz")
"""


class NotAvailableError(Exception):
    """There can be no Swift here."""


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Swift:
    """A context manager; ``swift.options`` are storage_options for s3fs."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.processes = {}

    @property
    def options(self):
        """Where it is, and how to get in."""
        endpoint = f"http://127.0.0.1:{self.ports['proxy']}"
        return {"key": KEY, "secret": SECRET, "endpoint_url": endpoint, "client_kwargs": {"region_name": "us-east-1"}}

    def __enter__(self):
        if os.environ.get("PIPELINE_TEST_SERVICES") != "1":
            raise NotAvailableError("PIPELINE_TEST_SERVICES=1 lets the tests install and start Swift")
        for name in ("etc", "log", "node/disk"):
            (self.folder / name).mkdir(parents=True)
        self._check_attributes()
        self._install()
        self.ports = {kind: free_port() for kind in KINDS}
        self._configure()
        try:
            for kind in KINDS:
                self._start(kind)
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _check_attributes(self):
        try:
            os.setxattr(self.folder / "node", "user.test", b"x")
        except OSError as error:
            raise NotAvailableError(f"{self.folder}: no user extended attributes: {error.strerror}") from error

    def _install(self):
        environment = self.folder / "venv"
        pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "-q"]
        pip += ["--disable-pip-version-check", "--no-compile", "--only-binary", ":all:", REQUIREMENT]
        for command in ([sys.executable, "-m", "venv", "--without-pip", str(environment)], pip):
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                raise NotAvailableError(f"{REQUIREMENT} could not be installed: {done.stderr[-500:]}")
        self.binaries = environment / "bin"

    def _configure(self):
        configurations = self.folder / "etc"
        (configurations / "swift.conf").write_text(SWIFT)
        values = {"folder": self.folder, "user": subprocess.check_output(["id", "-un"], text=True).strip()}
        for kind in KINDS:
            text = COMMON + (PROXY if kind == "proxy" else STORAGE)
            text = text.format(kind=kind, port=self.ports[kind], unused=free_port(), **values)
            (configurations / f"{kind}-server.conf").write_text(text)
        ports = {kind: self.ports[kind] for kind in KINDS if kind != "proxy"}
        command = [str(self.binaries / "python"), "-c", RINGS, str(configurations), json.dumps(ports)]
        subprocess.run(command, capture_output=True, check=True, timeout=100)

    def _start(self, kind):
        command = [str(self.binaries / f"swift-{kind}-server"), str(self.folder / "etc" / f"{kind}-server.conf")]
        with (self.folder / "log" / f"{kind}.log").open("ab") as log:
            self.processes[kind] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def _wait(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(600):
            try:
                opener.open(f"http://127.0.0.1:{self.ports['proxy']}/", timeout=5)
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)
        raise NotAvailableError(f"Swift does not answer: {(self.folder / 'log' / 'proxy.log').read_text()[-500:]}")

    def freeze(self, kind="object"):
        """Stop a server where it is, as a machine that swaps would."""
        self.processes[kind].send_signal(signal.SIGSTOP)

    def thaw(self, kind="object"):
        """Let it go on."""
        self.processes[kind].send_signal(signal.SIGCONT)

    def kill(self, kind):
        """End a server for good."""
        process = self.processes.pop(kind)
        process.kill()
        process.wait(10)

    def __exit__(self, *details):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait(10)
