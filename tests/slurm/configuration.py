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
    """Ports on which nothing listens on the loopback, all different."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):  # two clusters that start together look in different places
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")


def user() -> str:
    """Who runs the tests, and so the daemons and the jobs."""
    return pwd.getpwuid(os.getuid()).pw_name


def write_munge_key(file: Path) -> None:
    """The secret by which the daemons of this cluster know each other."""
    file.touch(mode=0o600)
    file.write_bytes(secrets.token_bytes(128))


def write_slurm(
    folder: Path, ports: list[int], *, nodes: int, cpus: int, gpus: int, memory_mb: int, partitions: str, lines: str
) -> None:
    """slurm.conf and gres.conf; `ports` are the controller's and each node's."""
    gres = f" Gres=gpu:{gpus}" if gpus else ""
    names = [f"n{number}" for number in range(1, nodes + 1)]
    table = [
        f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory_mb}{gres}"
        for name, port in zip(names, ports[1:], strict=True)
    ]
    # With config_overrides a node may have more CPUs than the machine. After a requeue a job waits for its credential
    # to expire. The ids of jobs never begin at 1 again: a folder of another cluster would seem to hold their results.
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
    # A GPU that is only a number is dropped without a word: each needs a device file of its own.
    devices = [folder / f"gpu{number}" for number in range(gpus)]
    for device in devices:
        device.symlink_to("/dev/null")
    lines = "".join(f"Name=gpu File={device}\n" for device in devices)
    (folder / "gres.conf").write_text(f"AutoDetect=off\n{lines}" if gpus else "")


def accounting_lines(folder: Path, port: int, gpus: bool) -> str:
    """What slurm.conf says about slurmdbd."""
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
{"AccountingStorageTRES=gres/gpu" if gpus else ""}"""


def write_accounting(folder: Path, port: int, database_port: int) -> None:
    """slurmdbd.conf, and database.sql by which the database lets slurmdbd in."""
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
    file.touch(mode=0o600)  # slurmdbd insists
    file.write_text(text)
    (folder / "database.sql").write_text(
        f"CREATE DATABASE {DATABASE};\n"
        f"CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL ON {DATABASE}.* TO 'slurm'@'127.0.0.1';\n"
    )
