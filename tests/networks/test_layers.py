import dataclasses

import numpy as np
import pytest

from designspace.networks.columns import NetworkColumns, StageColumns
from designspace.networks.complexity import Complexity, complexity, totals
from designspace.networks.network import Network, Stage, Stem

SHAPES = [(1, 16, 1, 8, 0), (3, 24, 2, 4, 2), (2, 8, 1, 2, 1), (5, 8, 0.5, 16, 0)]
"""Depth, width, bottleneck ratio, group width and radix of networks with one stage."""


def network_of(depth, width, ratio, group_width, radix, **shared):
    return Network(Stem("cifar", 8), (Stage(depth, width, 1, ratio, group_width),), radix=radix, **shared)


@pytest.mark.parametrize("shared", [{}, {"se_ratio": 0.05}, {"se_ratio": 0.25, "head_width": 16}, {"num_classes": 0}])
def test_many_networks_are_counted_like_single_ones(shared):
    """Includes layers that only some networks have: projections, attention, squeeze-and-excitation."""
    networks = [network_of(*shape, **shared) for shape in SHAPES]
    depth, width, ratio, group_width, radix = (np.array(column) for column in zip(*SHAPES, strict=True))
    columns = dataclasses.replace(
        NetworkColumns.of(networks[0], np.int64),
        stages=(StageColumns(depth, width, 1, ratio, group_width),),
        radix=radix,
    )
    counted = totals(columns, 15, Complexity._fields)
    assert list(zip(*(column.tolist() for column in counted.values()), strict=True)) == [
        complexity(network, 15) for network in networks
    ]
    assert {column.dtype for column in counted.values()} == {np.dtype(np.int64)}


def test_counts_of_a_single_network_may_exceed_64_bits():
    network = Network(Stem(), (Stage(10_000, 1 << 20, 2, 1 / 64, 1 << 26),) * 3)
    assert complexity(network) == (1674106188296123696112616, 1220193963990186985352, 5568394049233896)
