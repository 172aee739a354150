"""The machine that measures: its name, its clock, and what other processes take of its cores."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from pathlib import Path

from designspace.support.machine import available_cores

_STAT, _CPUINFO = Path("/proc/stat"), Path("/proc/cpuinfo")
_FREQUENCY = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
ALLOWED_CORES = 0.1
"""Share of one core that other processes may take. An idle desktop takes about 0.03."""
SPARE_SHARE = 0.25
"""Share of the cores that the measurement does not use which others may take. It is below one half, since two of a
processor's "cores" are often the two threads of one core."""
TICKS = 4
"""Ticks of /proc/stat, usually of 10 ms, by which the busy time of a few cores may be wrong."""


def processor_name() -> str:
    """Return the name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in _CPUINFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    if platform.system() == "Darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return platform.processor() or platform.machine() or "unknown processor"


def processor_mhz() -> float:
    """Return the highest clock of the cores that this process may use, in MHz; NaN if the system does not tell it.

    The highest, since idle cores are clocked down.
    """
    clocks = []
    for core in _own_cores():
        with contextlib.suppress(OSError, ValueError):
            clocks.append(float(Path(_FREQUENCY.format(core)).read_text()) / 1000)
    if not clocks:
        with contextlib.suppress(OSError, ValueError):
            lines = _CPUINFO.read_text().splitlines()
            clocks = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return max(clocks, default=float("nan"))


class LoadWatch:
    """Tells whether other processes, or other guests of a virtual machine's host, slow down a measurement.

    Their time is the busy time of the cores that this process may use, with the time that a host gave to other guests
    ("steal"), less the processor time of this process. Where there is no /proc/stat, nothing is ever noticed.
    """

    def __init__(self, threads: int) -> None:
        """Start to watch.

        Args:
            threads: number of threads that the measurement uses.
        """
        spare = max(0, available_cores() - threads)
        self._allowed = max(ALLOWED_CORES, SPARE_SHARE * spare)
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
        self.restart()

    def restart(self) -> None:
        """Forget what happened until now."""
        self._wall, self._own, self._busy = time.perf_counter(), time.process_time(), self._busy_s()

    def is_loaded(self) -> bool:
        """Return whether others took more than a little since the last `restart`."""
        wall, own = time.perf_counter() - self._wall, time.process_time() - self._own
        others = self._busy_s() - self._busy - own
        return others > max(self._allowed * wall, TICKS * self._tick_s)

    def _busy_s(self) -> float:
        """Return the seconds that this process's cores were busy since the machine started; 0 if it is not known."""
        cores, busy = {f"cpu{core}" for core in _own_cores()}, 0
        with contextlib.suppress(OSError, ValueError):
            for line in _STAT.read_text().splitlines():
                name, *times = line.split()
                if name in cores:  # user, nice, system, idle, waiting for disks, interrupts (2), steal
                    busy += sum(int(time) for position, time in enumerate(times[:8]) if position not in (3, 4))
        return busy * self._tick_s


def _own_cores() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
