"""The configuration files of a SLURM cluster on one machine."""

import os
import pwd
import random
import secrets
import socket
import time
from pathlib import Path

DATABASE = "slurm_acct_db"
# Below the range from which Linux takes the ports of outgoing connections, so that a port stays free during a restart.
PORTS = range(20000, 32000)


def free_ports(count: int) -> list[int]:
    """Return different free ports on the loopback."""
    ports: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):  # clusters that start at the same time try different ports
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")


def user() -> str:
    """Return the user who runs the tests, the daemons and the jobs."""
    return pwd.getpwuid(os.getuid()).pw_name


def write_munge_key(file: Path) -> None:
    """Write the key with which the daemons of this cluster authenticate each other."""
    file.touch(mode=0o600)
    file.write_bytes(secrets.token_bytes(128))


def write_slurm(
    folder: Path, ports: list[int], *, nodes: int, cpus: int, gpus: int, memory_mb: int, partitions: str, lines: str
) -> None:
    """Write slurm.conf and gres.conf; `ports` are those of the controller and of each node."""
    gres = f" Gres=gpu:{gpus}" if gpus else ""
    names = [f"n{number}" for number in range(1, nodes + 1)]
    table = [
        f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory_mb}{gres}"
        for name, port in zip(names, ports[1:], strict=True)
    ]
    # With config_overrides, a node may have more CPUs than the machine. After a requeue, a job waits for its credential
    # to expire. The ids of jobs never start at 1 again, since a folder of another cluster would seem to hold their
    # results.
    text = f"""\
ClusterName=test
SlurmctldHost={socket.gethostname().split(".")[0]}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser={user()}
SlurmdUser={user()}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_interval=5
SlurmdParameters=config_overrides
SlurmdTimeout=120
KillWait=5
MinJobAge=300
ReturnToService=2
JobRequeue=1
FirstJobId={int(time.time()) % 60_000_000 + 1}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
{"GresTypes=gpu" if gpus else ""}
{lines}
{os.linesep.join(table)}
{partitions}
"""
    (folder / "slurm.conf").write_text(text)
    # SLURM silently ignores a GPU without its own device file.
    devices = [folder / f"gpu{number}" for number in range(gpus)]
    for device in devices:
        device.symlink_to("/dev/null")
    lines = "".join(f"Name=gpu File={device}\n" for device in devices)
    (folder / "gres.conf").write_text(f"AutoDetect=off\n{lines}" if gpus else "")


def accounting_lines(folder: Path, port: int, gpus: bool) -> str:
    """Return the lines of slurm.conf about slurmdbd."""
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
{"AccountingStorageTRES=gres/gpu" if gpus else ""}"""


def write_accounting(folder: Path, port: int, database_port: int) -> None:
    """Write slurmdbd.conf, and database.sql, which creates the user of slurmdbd."""
    password = secrets.token_hex(16)
    text = f"""\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
CommunicationParameters=NoInAddrAny
SlurmUser={user()}
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc={DATABASE}
"""
    file = folder / "slurmdbd.conf"
    file.touch(mode=0o600)  # required by slurmdbd
    file.write_text(text)
    (folder / "database.sql").write_text(
        f"CREATE DATABASE {DATABASE};\n"
        f"CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL ON {DATABASE}.* TO 'slurm'@'127.0.0.1';\n"
    )
