"""Networks as torch modules: `AnyNet` builds every `designspace.networks.network.Network`."""

from designspace.models.anynet import AnyNet

__all__ = ["AnyNet"]
