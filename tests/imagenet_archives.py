"""Small archives in the layout of ImageNet's, because the real ones have 145 GB."""

import hashlib
import io
import tarfile

import numpy as np
from PIL import Image
from scipy.io import savemat

from designspace.data import devkit, imagenet

CLASSES = ("n00000003", "n00000001", "n00000002")  # in the devkit's own order
TRAIN, VAL = 4, 6


def jpeg(seed):
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


def tar(members, mode="w"):
    """Return an archive of members by name, given as their contents or as `TarInfo`."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, data in members:
            member = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if not isinstance(data, tarfile.TarInfo):
                member.size = len(data)
            archive.addfile(member, None if isinstance(data, tarfile.TarInfo) else io.BytesIO(data))
    return content.getvalue()


def table():
    """Return a meta.mat with the classes and, after them, a group of classes."""
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(i + 1, name, "words, words", 0) for i, name in enumerate(CLASSES)] + [(4, "n09999999", "group", 3)]
    content = io.BytesIO()
    savemat(content, {"synsets": np.array(rows, kind).reshape(-1, 1)})
    return content.getvalue()


def archive_contents():
    """Return the contents of the three archives."""
    truth = "".join(f"{i % 3 + 1}\n" for i in range(VAL)).encode()
    inner = [
        (f"{name}.tar", tar([(f"{name}_{i}.JPEG", jpeg(10 * c + i)) for i in range(TRAIN)]))
        for c, name in enumerate(CLASSES)
    ]
    flat = [(f"ILSVRC2012_val_{i + 1:08}.JPEG", jpeg(100 + i)) for i in range(VAL)]
    return {
        "train": tar(inner),
        "val": tar(reversed(flat)),
        "devkit": tar(
            [("ILSVRC2012_devkit_t12/readme.txt", b"a"), (devkit.META, table()), (devkit.TRUTH, truth)], "w:gz"
        ),
    }


def write_archives(folder, monkeypatch, **others):
    """Write the three archives, some with other contents, make the program expect them, and return their paths."""
    monkeypatch.setattr(imagenet, "CLASSES", 3)
    monkeypatch.setattr(imagenet, "TRAIN_IMAGES", 3 * TRAIN)
    monkeypatch.setattr(imagenet, "VAL_IMAGES", VAL)
    paths = []
    for name, content in (archive_contents() | others).items():
        old = getattr(imagenet, name.upper())
        path = folder / old.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        paths.append(path)
        monkeypatch.setattr(imagenet, name.upper(), old._replace(md5=hashlib.md5(content).hexdigest()))
    return paths
