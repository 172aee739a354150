"""A real SLURM on one machine, for the tests: munge, slurmctld, several slurmd, and slurmdbd on a MariaDB."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from slurm import configuration, processes

PACKAGES = "slurm-wlm munge slurmdbd mariadb-server faketime"
PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue"]
ACCOUNTING_PROGRAMS = ["slurmdbd", "mariadbd", "mariadb-install-db", "mariadb-admin", "sacct", "sacctmgr"]
DEFAULT_PARTITION = "PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP"
LONGEST_PATH = 108 - len("/spool.n99/n99_1234567890.1234567890") - 1
"""Linux limits the path of a socket to 107 characters; step daemons name theirs after node, job and step."""
START_S = 300.0  # far more than any daemon needs on a busy machine


class Cluster:
    """A cluster whose nodes n1, n2, ... are all this machine; its daemons listen on the loopback only.

    `folder` must be new or empty. `partitions` are lines of slurm.conf that replace the default partition of all nodes,
    `extra` are additional lines. Jobs are not confined: SLURM counts CPUs, GPUs and memory but enforces no limits.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 4,
        cpus: int = 2,
        gpus: int = 2,
        memory_mb: int = 4000,
        accounting: bool = True,
        max_array: int | None = None,
        partitions: str | None = None,
        extra: str = "",
    ):
        self.folder = folder.resolve()
        self.nodes = nodes
        self.accounting = accounting
        self._shape = {"nodes": nodes, "cpus": cpus, "gpus": gpus, "memory_mb": memory_mb}
        self._partitions = DEFAULT_PARTITION if partitions is None else partitions
        self._extra = extra
        if max_array is not None:
            self._extra += f"\nMaxArraySize={max_array}\nMaxJobCount={max(10000, 2 * max_array)}"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._database_port = 0

    # Start and stop

    def start(self) -> None:
        """Start everything, and wait until all nodes are idle."""
        self._require_programs()
        if len(str(self.folder)) > LONGEST_PATH:
            raise ValueError(f"the path of a cluster's folder is longer than {LONGEST_PATH} characters: {self.folder}")
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise FileExistsError(f"a cluster needs an empty folder, but {self.folder} is not empty")
        try:
            self._write_files()
            self.run("slurmd", "-G", "-N", "n1")  # reads slurm.conf and exits; fails if it has unknown lines
            self._guard = subprocess.Popen(
                [sys.executable, processes.__file__, str(self.folder)], stdin=subprocess.PIPE, start_new_session=True
            )
            self._start_munge()
            if self.accounting:
                self._start_database()
                self.start_accounting()
            self._start_controller()
            for number in range(1, self.nodes + 1):
                self.start_node(number)
            self.wait_until(self._all_idle, START_S, "all nodes are idle")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Cancel all jobs and end every process of the cluster. Its logs stay in the folder."""
        if not self._is_down("slurmctld"):
            try:
                self._cancel_all()  # so that clients that wait for a job notice its end
                self.wait_until(lambda: not self.queue(), 2.0, "all jobs are cancelled")
            except (RuntimeError, TimeoutError, subprocess.TimeoutExpired):
                pass  # some nodes are down, or slurmctld does not answer
        processes.end_cluster(self.folder)
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        self._daemons.clear()
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None
        shutil.rmtree(self.folder / "database", ignore_errors=True)  # the only large folder

    def heal(self) -> None:
        """Cancel all jobs, start what is down, and wait until all nodes are idle."""
        if self._is_down("slurmctld"):
            self._start_controller()
        if self.accounting and self._is_down("slurmdbd"):
            self.start_accounting()
        for number in range(1, self.nodes + 1):
            if self._is_down(f"slurmd.n{number}"):
                self.start_node(number)
        self._cancel_all()
        self.wait_until(lambda: not self.queue() and self._all_idle(), START_S, "no job is left and all nodes are idle")

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # Use

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that a process needs to use this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def run(self, *command: str, check: bool = True) -> str:
        """Run a SLURM command in the cluster's folder and return its output; raise RuntimeError with its errors."""
        done = subprocess.run(
            command,
            env=os.environ | self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ends with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def queue(self) -> list[tuple[str, str]]:
        """Return the unfinished jobs as (id, state), such as ("12_3", "RUNNING")."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return [(job, state) for job, state in (line.split() for line in lines)]

    def job_processes(self, node: int) -> list[int]:
        """Return all processes of the jobs on a node, including those that left the session of their job."""
        return sorted(processes.job_processes(self.folder, f"n{node}"))

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for a condition; on a timeout, raise TimeoutError with the last lines of slurmctld's log."""
        limit = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > limit:
                raise TimeoutError(f"timed out after {timeout_s:g} s until {what}\n{self._tail('slurmctld.log')}")
            time.sleep(0.1)

    # Faults

    def kill_node(self, node: int) -> None:
        """Kill the slurmd of a node; its jobs continue."""
        self._kill(f"slurmd.n{node}")

    def crash_node(self, node: int) -> None:
        """Simulate a power failure of a node: kill its slurmd, its step daemons and all processes of its jobs."""
        self.kill_node(node)
        processes.end_steps(self.folder, f"n{node}")

    def report_down(self, node: int) -> None:
        """Report to SLURM that a node is down, as a health check does: its jobs are requeued immediately.

        SLURM itself notices after SlurmdTimeout that a node does not answer. This timeout is long here, since a live
        daemon may not answer for a while on a busy machine.
        """
        self.run("scontrol", "update", f"NodeName=n{node}", "State=DOWN", "Reason=crashed")

    def start_node(self, node: int) -> None:
        """Start the slurmd of a node, also after `report_down`."""
        (self.folder / f"spool.n{node}").mkdir(exist_ok=True)
        self._spawn(f"slurmd.n{node}", "slurmd", "-D", "-N", f"n{node}")

    def restart_controller(self, down_s: float = 0.0) -> None:
        """Stop slurmctld and start it again after `down_s` seconds, with its state."""
        self._terminate("slurmctld")
        time.sleep(down_s)
        self._start_controller()

    def stop_accounting(self) -> None:
        """Stop slurmdbd: sacct fails, and events are recorded later."""
        self._terminate("slurmdbd")

    def start_accounting(self) -> None:
        """Start slurmdbd, and wait until it answers."""
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self._wait_for("slurmdbd", "sacctmgr", "--noheader", "show", "cluster")

    # The daemons

    def _require_programs(self) -> None:
        needed = PROGRAMS + (ACCOUNTING_PROGRAMS if self.accounting else [])
        missing = [program for program in needed if shutil.which(program, path=_path()) is None]
        if missing:
            raise RuntimeError(f"no {', '.join(missing)} on this machine; on Debian: apt-get install {PACKAGES}")

    def _write_files(self) -> None:
        controller, accounting, self._database_port, *nodes = configuration.free_ports(3 + self.nodes)
        for name in ("log", "state"):
            (self.folder / name).mkdir()
        configuration.write_munge_key(self.folder / "munge.key")
        lines = "AccountingStorageType=accounting_storage/none"
        if self.accounting:
            configuration.write_accounting(self.folder, accounting, self._database_port)
            lines = configuration.accounting_lines(self.folder, accounting, self._shape["gpus"] > 0)
        configuration.write_slurm(
            self.folder,
            [controller, *nodes],
            **self._shape,
            partitions=self._partitions,
            lines=f"{lines}\n{self._extra}",
        )

    def _start_munge(self) -> None:
        file = self.folder / "munge"
        # munged considers private folders insecure; --force makes it warn instead of exit.
        options = [f"--{name}-file={file}.{name}" for name in ("key", "pid", "log", "seed")]
        self._spawn("munged", "munged", "--foreground", "--force", f"--socket={file}.socket", *options)
        self._wait_for("munged", "munge", f"--socket={file}.socket", "--no-input")

    def _start_database(self) -> None:
        file = self.folder / "database"
        options = [f"--user={configuration.user()}", f"--datadir={file}", "--skip-name-resolve"]
        # A server that starts deletes the temporary tables of others in its folder for temporary files.
        options.append(f"--tmpdir={self.folder / 'state'}")
        # The data need not survive a power failure.
        quick = ["--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0", "--skip-innodb-doublewrite"]
        options += [*quick, "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=64M"]
        install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        self._spawn(install[0], *install, *options)
        if self._daemons[install[0]].wait(START_S) != 0:
            raise RuntimeError(self._tail(f"{install[0]}.out"))
        self._spawn(
            *["mariadbd", "mariadbd", "--no-defaults", *options, "--bind-address=127.0.0.1", "--skip-log-bin"],
            *[f"--port={self._database_port}", f"--socket={file}.socket", f"--pid-file={file}.pid"],
            *[f"--init-file={file}.sql", "--innodb-lock-wait-timeout=900"],  # required by slurmdbd
        )
        self._wait_for("mariadbd", "mariadb-admin", "--no-defaults", f"--socket={file}.socket", "ping")

    def _start_controller(self) -> None:
        self._spawn("slurmctld", "slurmctld", "-D")
        self._wait_for("slurmctld", "scontrol", "ping")

    def _spawn(self, name: str, *command: str) -> None:
        """Start a daemon as a child process in a new session: only the tests receive Ctrl-C, and then stop it."""
        if not self._is_down(name):
            raise RuntimeError(f"{name} is already running")
        environment = os.environ | self.environment | {processes.MARK: str(self.folder)}
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _wait_for(self, name: str, *client: str) -> None:
        """Wait until a daemon answers a client command."""
        refusal = ""

        def answers() -> bool:
            nonlocal refusal
            status = self._daemons[name].poll()
            if status is not None:
                raise RuntimeError(f"{name} ended with {status}\n{self._tail(f'{name}.out')}")
            try:
                self.run(*client)
            except RuntimeError as error:
                refusal = str(error)
                return False
            return True

        try:
            self.wait_until(answers, START_S, f"{name} answers")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{refusal}") from None

    def _terminate(self, name: str) -> None:
        self._daemons[name].terminate()
        try:
            self._daemons[name].wait(START_S)
        except subprocess.TimeoutExpired:
            self._kill(name)

    def _kill(self, name: str) -> None:
        self._daemons[name].kill()
        self._daemons[name].wait()

    def _is_down(self, name: str) -> bool:
        return name not in self._daemons or self._daemons[name].poll() is not None

    def _all_idle(self) -> bool:
        idle = self.run("sinfo", "--noheader", "--Node", "--states=idle", "--format=%N", check=False).split()
        return len(set(idle)) == self.nodes  # a node is listed once per partition

    def _cancel_all(self) -> None:
        """Cancel all jobs without waiting for KillWait."""
        self.run("scancel", "--quiet", f"--user={configuration.user()}")
        processes.end(lambda: processes.job_processes(self.folder))

    def _tail(self, name: str) -> str:
        file = self.folder / "log" / name
        lines = file.read_text(errors="replace").splitlines()[-20:] if file.exists() else []
        return "\n".join([f"the end of {file}:", *lines])


def _path() -> str:
    """Return the search path, with the folders of daemons, which are often missing for ordinary users."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folders + [folder for folder in ("/usr/sbin", "/sbin") if folder not in folders])
