"""Which data set a run is trained on, and where it lies: as was noted, or as the shape of its networks tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.data import catalog, imagenet
from designspace.spaces.template import Template
from designspace.support.errors import InputError, RunError
from designspace.support.folders import default_root
from designspace.trials.data_note import read_note
from designspace.trials.folder import RunFolder


@dataclass(frozen=True, slots=True)
class DataSource:
    """A data set by name, and the folder of all data sets that it is in."""

    name: str
    root: Path
    is_guess: bool = False
    """Whether nobody named it: it is the only one that fits the networks."""


def data_of(run: RunFolder, name: str | None = None, root: Path | None = None) -> DataSource:
    """Return the data set of a run.

    Args:
        run: an existing run.
        name: the data set, if it was typed. Otherwise that of the run's recipe, or the one that it was sampled for, or
            the only one that fits its networks.
        root: the folder of all data sets, if it was typed. Otherwise as the run notes it, or the usual one.

    Raises:
        InputError: several data sets fit the networks, or none.
        RunError: a file of the run is missing or damaged.
    """
    plan, note = run.plan(), read_note(run.path)
    known = name or (plan.recipe.data if plan else None) or (note.name if note else None)
    if known:
        return DataSource(known, root or _root(run, known))
    root = root or default_root()
    template = run.space().template
    fitting = names_that_fit(template, root)
    if len(fitting) == 1:
        return DataSource(fitting[0], root, is_guess=True)
    images = f"{template.in_channels} x {template.resolution} x {template.resolution}, {template.num_classes} classes"
    again = f"python -m designspace.launch run={run.path} data="
    if fitting:
        raise InputError(
            f"{run.path} does not say which images it is for, and several data sets have images of {images}: "
            f"{', '.join(fitting)}. Type one of them, as {again}{fitting[0]} (or data=folder data.name={fitting[0]})"
        )
    raise InputError(
        f"{run.path} does not say which images it is for, and no data set in {root} has images of {images}. "
        f"Prepare yours: python -m designspace.prepare from=<folder of images> name=pets size={template.resolution}; "
        f"then {again}pets (or data=folder data.name=pets)"
    )


def names_that_fit(template: Template, root: Path) -> list[str]:
    """Return the data sets of the shape that networks were drawn for: fetched ones, ImageNet, and those packed."""
    expected = (template.in_channels, template.resolution, template.num_classes)
    names = dict.fromkeys([*catalog.fetched_names(), imagenet.NAME, *catalog.names(root)])
    return [name for name in names if _shape(name, root) == expected]


def _shape(name: str, root: Path) -> catalog.DataShape | None:
    """The shape that networks for a data set have: ImageNet's is the papers', however many pixels it is packed with."""
    try:
        return catalog.IMAGENET_SHAPE if name == imagenet.NAME else catalog.shape(name, root)
    except RunError:  # a damaged data set that nobody asked for stops nobody
        return None


def _root(run: RunFolder, name: str) -> Path:
    """The folder of data sets that a run uses: as noted, else the usual one, else that of its last launch."""
    note = read_note(run.path)
    usual = default_root()
    launches = reversed([told for launch in run.launches() if (told := launch.about().get("data_root"))])
    noted = [Path(note.root)] if note and note.root else []
    candidates = [*noted, usual, *map(Path, launches)]
    return next((root for root in candidates if catalog.is_prepared(name, root)), noted[0] if noted else usual)
