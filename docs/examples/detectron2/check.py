"""Build the backbones of all examples with the installed Detectron2, and compare our networks with its own.

``python docs/examples/detectron2/check.py`` needs neither weights nor images.
"""

from pathlib import Path

import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.modeling import backbone as theirs
from detectron2.modeling import build_backbone

from designspace.integrations.detectron2 import DesignSpaceBackbone, read_config
from designspace.networks import catalog

BASE = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
STAGES = ["s1", "s2", "s3", "s4"]


def describe(backbone: torch.nn.Module) -> str:
    """Return the shapes of a backbone's maps of an image of 128 x 160 pixels."""
    with torch.no_grad():
        maps = backbone.eval()(torch.rand(1, 3, 128, 160))
    return ", ".join(f"{name} {'x'.join(map(str, value.shape[1:]))}" for name, value in maps.items())


def compare(module: torch.nn.Module, name: str) -> float:
    """Return the largest difference between the maps of one of Detectron2's networks and those of ours."""
    ours = DesignSpaceBackbone(catalog.get(name), out_features=STAGES, bgr=name.startswith("regnet"))
    ours.load_state_dict(module.state_dict())  # with Detectron2's names
    images = torch.rand(1, 3, 128, 160)
    with torch.no_grad():
        expected, maps = module.eval()(images).values(), ours.eval()(images).values()
    return max(float((a - b).abs().max()) for a, b in zip(expected, maps, strict=True))


def main() -> None:
    """Print one line per example, and one per network that is compared."""
    folder = Path(__file__).parent
    for file in sorted(folder.glob("*.yaml")):
        cfg = read_config(BASE, file, options=["MODEL.DESIGNSPACE.WEIGHTS", False])
        print(f"{file.name}: {describe(build_backbone(cfg))}")
    for file in sorted(folder.glob("mask*.py")):
        model = LazyConfig.load(str(file)).model
        model.backbone.bottom_up.weights = False
        print(f"{file.name}: {describe(instantiate(model.backbone))}")
    if not hasattr(theirs, "RegNet"):
        return  # a stand-in of Detectron2
    stages = theirs.ResNet.make_default_stages(50, stride_in_1x1=False, norm="BN")
    resnet = theirs.ResNet(theirs.BasicStem(norm="BN"), stages, out_features=["res2", "res3", "res4", "res5"])
    print(f"resnet50 differs from Detectron2's by {compare(resnet, 'resnet50'):.1e}")
    regnet = theirs.RegNet(
        stem_class=theirs.regnet.SimpleStem,
        stem_width=32,
        block_class=theirs.regnet.ResBottleneckBlock,
        depth=23,
        w_a=38.65,
        w_0=96,
        w_m=2.43,
        group_width=40,
        activation_class=torch.nn.ReLU,
        out_features=STAGES,
    )
    print(f"regnetx_4_0gf differs from Detectron2's by {compare(regnet, 'regnetx_4_0gf'):.1e}")


if __name__ == "__main__":
    main()
