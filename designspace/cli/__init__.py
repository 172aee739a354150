"""Code shared by all commands: configuration, error messages, tables. Only this package uses Hydra and rich."""

import os

# OpenMP reads its variables when it is loaded, so this must run before torch is imported. By default, a waiting thread
# of libgomp spins 300,000 times before it sleeps, which on a busy machine keeps other threads from their cores.
# Images/s of `train model=regnetx_200mf` with 2 threads on 2 cores, idle and beside 8 processes:
# 300,000 spins 1,840 and 13; 10,000 spins 1,750 and 82; none (passive) 1,190 and 157. The training curves are the same.
WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}
"""Variables for how long torch's threads spin before they sleep; only libgomp reads the second one."""
if not any(name in os.environ for name in (*WAITING, "KMP_BLOCKTIME")):
    os.environ.update(WAITING)
