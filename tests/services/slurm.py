"""A throw-away Slurm in a folder of its own, on 127.0.0.1, for the tests that are marked ``services``.

Debian's slurm-wlm and munge; what is missing is installed with apt-get, which only root can do and which is done only
when PIPELINE_TEST_SERVICES=1. One slurmctld and several slurmd, each a node of its own name and port on this machine;
no cgroups, no database. Where there is a slurm.conf, somebody's cluster is left alone.

::

    folder/slurm.conf   folder/state/   folder/spool/n1/…   folder/log/*.log   folder/run/*.pid
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

CONFIGURED = (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm-llnl/slurm.conf"))

CONFIGURATION = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,bf_interval=1
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
KillWait=2
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=01:00:00 State=UP OverSubscribe=NO
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1 SocketsPerBoard=1 "
    "CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory={megabytes} State=UNKNOWN"
)


class NotAvailableError(Exception):
    """There can be no Slurm here."""


def install():
    """Install what is missing."""
    if os.environ.get("PIPELINE_TEST_SERVICES") != "1":
        raise NotAvailableError("PIPELINE_TEST_SERVICES=1 lets the tests install and start Slurm")
    if found := next((path for path in CONFIGURED if path.exists()), None):
        raise NotAvailableError(f"{found}: a Slurm is configured here, and is left alone")
    if os.geteuid() != 0:
        raise NotAvailableError("only root can start a Slurm")
    if shutil.which("slurmctld") and shutil.which("slurmd") and shutil.which("munged"):
        return
    if shutil.which("apt-get") is None:
        raise NotAvailableError("slurm-wlm is not installed, and there is no apt-get to install it with")
    # Debian would start the daemons of the system; a policy that forbids it is what packages honour.
    policy = Path("/usr/sbin/policy-rc.d")
    made_policy = not policy.exists()
    if made_policy:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in (["update"], ["install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]):
            subprocess.run(["apt-get", "-q", *command], env=environment, capture_output=True, check=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NotAvailableError(f"slurm-wlm could not be installed: {error}") from error
    finally:
        if made_policy:
            policy.unlink()


def free_ports(number):
    """Ports that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def run(*command):
    """What a command of Slurm says; its configuration is found through SLURM_CONF."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def until(condition, *, seconds):
    """Wait for a condition; whether it came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


class Slurm:
    """A context manager; while it is open, SLURM_CONF says where this Slurm is."""

    def __init__(self, folder, *, num_nodes=2, cpus=1, megabytes=4000):
        self.folder = Path(folder)
        self.names = [f"n{index + 1}" for index in range(num_nodes)]
        self.cpus, self.megabytes = cpus, megabytes
        self.is_munge_ours = False

    def __enter__(self):
        install()
        for name in ("state", "log", "run", *(f"spool/{node}" for node in self.names)):
            (self.folder / name).mkdir(parents=True)
        self._configure()
        self._before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")
        try:
            self._start_munge()
            subprocess.run(["slurmctld", "-c"], check=True, capture_output=True, timeout=30)
            for name in self.names:
                self.start_node(name)
            if not until(self._is_ready, seconds=30):
                raise NotAvailableError(f"Slurm does not come up: {self._log('slurmctld')}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _configure(self):
        host = socket.gethostname().partition(".")[0]
        port, *ports = free_ports(1 + len(self.names))
        nodes = [
            NODE.format(name=name, host=host, port=node_port, cpus=self.cpus, megabytes=self.megabytes)
            for name, node_port in zip(self.names, ports, strict=True)
        ]
        text = CONFIGURATION.format(host=host, port=port, folder=self.folder, nodes="\n".join(nodes))
        (self.folder / "slurm.conf").write_text(text)

    def _start_munge(self):
        def answers():
            return subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0

        if answers():
            return
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        Path("/run/munge").chmod(0o755)
        identity = ["setpriv", "--reuid", "munge", "--regid", "munge", "--init-groups"]
        subprocess.run([*identity, "munged"], check=True, capture_output=True, timeout=30)
        self.is_munge_ours = True
        if not until(answers, seconds=10):
            raise NotAvailableError("munged does not answer")

    def start_node(self, name):
        """Start the slurmd of a node."""
        subprocess.run(["slurmd", "-N", name], check=True, capture_output=True, timeout=30)

    def _is_ready(self):
        with contextlib.suppress(RuntimeError):
            return run("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(len(self.names))
        return False

    def _log(self, name):
        return (self.folder / "log" / f"{name}.log").read_text()[-500:]

    def jobs(self, states="RUNNING"):
        """Ids of jobs, oldest first."""
        return sorted(int(line) for line in run("squeue", "-h", "-t", states, "-o", "%A").split())

    def node_of(self, job):
        """Where a job runs."""
        return run("squeue", "-h", "-j", str(job), "-o", "%N").strip()

    def cancel(self, job):
        """As a person or an administrator would."""
        run("scancel", str(job))

    def set_state(self, node, state):
        """Take a node away, or bring it back."""
        run("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    def __exit__(self, *details):
        with contextlib.suppress(RuntimeError):
            run("scancel", "--user", "root")
            until(lambda: not self.jobs("PENDING,RUNNING,COMPLETING"), seconds=10)
        pids = [*(self.folder / "run").glob("*.pid")]
        if self.is_munge_ours:
            pids.append(Path("/run/munge/munged.pid"))
        for path in pids:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
                os.kill(int(path.read_text()), signal.SIGTERM)
        until(lambda: not any((self.folder / "run").glob("*.pid")), seconds=10)
        if self._before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = self._before
