"""Descriptions of networks: values, shapes and complexity, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designspace.support.lazy import lazy_names

if TYPE_CHECKING:
    from designspace.networks.network import Network, Stage, Stem

__all__ = ["Network", "Stage", "Stem"]

_HOMES = {
    "Network": "designspace.networks.network",
    "Stage": "designspace.networks.network",
    "Stem": "designspace.networks.network",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES, ["catalog", "complexity"])
