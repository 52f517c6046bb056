"""A Slurm cluster of two nodes on this machine, of its own daemons, folders and ports: all of it on loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NODES = ("n1", "n2")
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
START_SECONDS = 60.0
WITHOUT_CGROUPS = (23, 11)  # from this version on slurmd can be told to do without
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MailProg=/bin/true
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=1000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=1000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class CannotStart(RuntimeError):
    """Slurm is not there, or does not come up; the message says why."""


@dataclass
class Cluster:
    """A cluster that runs.

    Attributes:
        folder: Of its configuration and its logs.
        daemons: Its processes.
    """

    folder: Path
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a command of Slurm needs to find it."""
        path = os.pathsep.join(filter(None, [os.environ.get("PATH"), "/usr/sbin", "/sbin"]))
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def start(self) -> None:
        """Returns when both nodes take jobs.

        Raises:
            CannotStart: They do not.
        """
        for daemon in ("munged", "slurmctld", *NODES):
            self._start(daemon)
            if daemon == "munged":
                self._wait((self.folder / "munge.socket").exists, "munged opened no socket")
        self._wait(self._takes_jobs, "the nodes did not come up")

    def _takes_jobs(self) -> bool:
        command = ("sinfo", "--noheader", "--Node", "--format=%T")
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout.split() == ["idle"] * len(NODES)

    def _start(self, daemon: str) -> None:
        here = self.folder
        munge = [
            *("munged", "--foreground", f"--socket={here}/munge.socket", f"--key-file={here}/munge.key"),
            *(f"--pid-file={here}/munge.pid", f"--log-file={here}/munged.log", f"--seed-file={here}/munge.seed"),
        ]
        commands = {"munged": munge, "slurmctld": ["slurmctld", "-D", "-i"]}
        command = commands.get(daemon, ["slurmd", "-D", "-N", daemon])
        with (here / f"{daemon}.printed").open("wb") as printed:
            self.daemons.append(
                subprocess.Popen(
                    command, env=self.environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, cwd=here
                )
            )

    def _wait(self, is_done, why: str) -> None:
        until = time.monotonic() + START_SECONDS
        while not is_done():
            ended = [str(one.args[0]) for one in self.daemons if one.poll() is not None]  # type: ignore[index]
            if ended or time.monotonic() > until:
                raise CannotStart(f"{why}: {', '.join(ended) or 'nothing'} ended; {self.last_words()}")
            time.sleep(0.1)

    def last_words(self) -> str:
        """The last lines of all logs."""
        files = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.printed")])
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')[-1500:]}" for file in files)

    def stop(self) -> None:
        """Ends jobs and daemons, and waits for them."""
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            subprocess.run(["scancel", "--user", _user()], env=self.environment, timeout=30, check=False)
            until = time.monotonic() + 10
            while time.monotonic() < until and self.ask("squeue", "--noheader", "--states=RUNNING,COMPLETING").strip():
                time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster for the length of the block.

    Raises:
        CannotStart: Slurm is not there, or does not come up.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        raise CannotStart(f"{', '.join(missing)} is not installed: apt-get install slurm-wlm munge, as .ci/run does")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # sockets lie in it: their paths are short
    cluster = Cluster(folder)
    try:
        folder.chmod(0o755)  # munged wants others to reach its socket
        (folder / "state").mkdir()
        subprocess.run(
            ["mungekey", "--create", f"--keyfile={folder}/munge.key"], env=cluster.environment, check=True, timeout=30
        )
        host = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(host=host, user=_user(), folder=folder, ports=_free_ports(3))
        (folder / "slurm.conf").write_text(text)
        if _version(cluster) >= WITHOUT_CGROUPS:
            (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _version(cluster: Cluster) -> tuple[int, ...]:
    """``(22, 5)`` of ``slurm-wlm 22.05.8``."""
    number = cluster.ask("slurmd", "-V").split()[1]
    return tuple(int(part) for part in number.split(".")[:2])


def _free_ports(number: int) -> Sequence[int]:
    """Ports of loopback that nobody has now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
