"""Finding the data set of a run, from what the run records or from the shape of its networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.data import catalog, imagenet
from designspace.spaces.template import Template
from designspace.support.errors import InputError, RunError
from designspace.support.folders import default_root
from designspace.trials.data_note import DataNote, read_note
from designspace.trials.folder import RunFolder


@dataclass(frozen=True, slots=True)
class DataSource:
    """The name of a data set, and the folder of all data sets that contains it."""

    name: str
    root: Path
    is_guess: bool = False
    """Whether the data set was chosen only because no other one fits the networks."""


def data_of(run: RunFolder, name: str | None = None, root: Path | None = None) -> DataSource:
    """Return the data set of a run.

    Args:
        run: an existing run.
        name: the data set, if the user gave one. Otherwise that of the run's recipe, or the one that it was sampled
            for, or the only one that fits its networks.
        root: the folder of all data sets, if the user gave one. Otherwise the one recorded in the run, or the default.

    Raises:
        InputError: several data sets fit the networks, or none.
        RunError: a file of the run is missing or damaged.
    """
    plan, note = run.plan(), read_note(run.path)
    chosen_name = name or (plan.recipe.data if plan else None) or (note.name if note else None)
    if chosen_name:
        return DataSource(chosen_name, root or _root(run, chosen_name))
    root = root or default_root()
    template = run.space().template
    fitting = names_that_fit(template, root)
    if len(fitting) == 1:
        return DataSource(fitting[0], root, is_guess=True)
    images = f"{template.in_channels} x {template.resolution} x {template.resolution}, {template.num_classes} classes"
    command = f"python -m designspace.launch run={run.path} data="
    if fitting:
        raise InputError(
            f"{run.path} does not record its data set, and several data sets have images of {images}: "
            f"{', '.join(fitting)}. Choose one of them, as in {command}{fitting[0]} (or data=folder "
            f"data.name={fitting[0]})"
        )
    raise InputError(
        f"{run.path} does not record its data set, and no data set in {root} has images of {images}. "
        f"Prepare yours: python -m designspace.prepare from=<folder of images> name=pets size={template.resolution}; "
        f"then {command}pets (or data=folder data.name=pets)"
    )


def note_of(name: str, root: Path | None) -> DataNote:
    """Return the record of a data set for a run folder, with facts about it if it is the user's own.

    ``root`` is the folder of all data sets if the user gave one.
    """
    return DataNote(name, None if root is None else str(root.resolve()), catalog.own_data(name, root))


def check_unchanged(run: RunFolder, source: DataSource) -> None:
    """Raise unless a user's own data set is still what the run was sampled for.

    Raises:
        InputError: the data differ from what the run records.
        RunError: a file of the run or of the data set is damaged.
    """
    note = read_note(run.path) if run.exists() else None
    if note is None or note.own is None or note.name != source.name:
        return
    own = catalog.own_data(source.name, source.root)
    if own is None or own.digest != note.own.digest:
        now = "another data set" if own is None else f"{own.describe}, {own.counts[0]:,} for training"
        raise InputError(
            f"{source.name} has changed since {run.path} was sampled for it: then {note.own.describe}, "
            f"{note.own.counts[0]:,} for training; now {now}, with other values. Restore it, or sample for the new "
            "data into another folder with run=..."
        )


def names_that_fit(template: Template, root: Path) -> list[str]:
    """Return the names of the data sets that fit networks: fetched ones, ImageNet, and packed ones."""
    expected = catalog.DataShape(template.in_channels, template.resolution, template.num_classes)
    names = dict.fromkeys([*catalog.fetched_names(), imagenet.NAME, *catalog.names(root)])
    return [name for name in names if (shape := _shape(name, root)) and shape.fitting == expected.fitting]


def _shape(name: str, root: Path) -> catalog.DataShape | None:
    """Return the shape of networks for a data set; for ImageNet the papers' shape, at whatever size it is packed."""
    try:
        return catalog.IMAGENET_SHAPE if name == imagenet.NAME else catalog.shape(name, root)
    except RunError:  # a damaged data set must not be an error for runs that do not use it
        return None


def _root(run: RunFolder, name: str) -> Path:
    """Return the folder of data sets that a run uses: the recorded one, the default, or that of its last launch."""
    note = read_note(run.path)
    default = default_root()
    launch_roots = reversed([data_root for launch in run.launches() if (data_root := launch.about().get("data_root"))])
    noted_roots = [Path(note.root)] if note and note.root else []
    candidates = [*noted_roots, default, *map(Path, launch_roots)]
    return next(
        (root for root in candidates if catalog.is_prepared(name, root)), noted_roots[0] if noted_roots else default
    )
