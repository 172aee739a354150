"""What all commands share: configuration in, errors and tables out. The only room that knows Hydra and rich."""

import os

# OpenMP reads its variables when it is loaded, so this stands before any import of torch. libgomp's default is to spin
# 300,000 times before a waiting thread sleeps, which on a machine that does other work keeps the cores from the threads
# that are waited for. Images/s of `train model=regnetx_200mf` with 2 threads on 2 cores, idle and beside 8 processes:
# 300,000 spins 1,840 and 13; 10,000 spins 1,750 and 82; none (passive) 1,190 and 157. The curves are the same.
WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}
"""How long torch's threads spin before they sleep; only libgomp knows the second variable."""
if not any(name in os.environ for name in (*WAITING, "KMP_BLOCKTIME")):
    os.environ.update(WAITING)
