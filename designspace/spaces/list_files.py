"""Reading of lists of networks: tables, JSON lines, folders of model folders, and names of published networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace.networks import catalog
from designspace.networks.network import MODEL_FILE, Network
from designspace.spaces.list_table import read_rows
from designspace.spaces.population import POPULATION_FILE
from designspace.support.csv_text import ID
from designspace.support.errors import InputError
from designspace.support.reading import entries, parse_json, read_json_object, read_text
from designspace.support.text import shown

MAX_LIST_BYTES = 64 << 20
"""Maximum size of a file with a list."""
KINDS = (
    "a table (.csv), JSON lines (.jsonl or .json), a folder of model folders, or names of published networks, such as "
    "[regnetx_200mf,resnet50]"
)


@dataclass(frozen=True, slots=True)
class ListedNetwork:
    """A network and where it was listed."""

    network: Network
    place: str
    """File and line, folder, or name."""


def read_networks(items: Sequence[str]) -> list[ListedNetwork]:
    """Return the networks of a list in its order, with repetitions.

    Args:
        items: paths of tables (see `designspace.spaces.list_table`), of files with a network as JSON per line and of
            folders of model folders, and names of published networks.

    Raises:
        InputError: there is no network, or one is not described as it must be; the error names file and line.
        RunError: a file cannot be read.
    """
    listed = [network for item in items for network in _read(item)]
    if not listed:
        raise InputError(f"{', '.join(items) or 'networks=[]'} has no networks; a list is {KINDS}")
    return listed


def list_name(items: Sequence[str]) -> str:
    """Return a name for a list: that of its only file, folder or network, or else ``networks``."""
    path = Path(items[0])
    if len(items) > 1:
        return "networks"
    return path.resolve().name if path.is_dir() else path.stem


def _read(item: str) -> Iterator[ListedNetwork]:
    """Yield the networks of one item of a list."""
    path = Path(item)
    suffix = path.suffix.lower()
    if path.is_dir():
        yield from _read_folder(path)
    elif suffix == ".csv":
        for line, network in read_rows(path, read_text(path, MAX_LIST_BYTES)):
            yield ListedNetwork(network, f"{path}, line {line}")
    elif suffix in (".jsonl", ".json"):
        yield from _read_json(path)
    elif path.is_file() or "/" in item:
        raise InputError(f"networks={item} {'is not a list' if path.exists() else 'does not exist'}; a list is {KINDS}")
    else:
        yield ListedNetwork(_published(item), item)


def _published(name: str) -> Network:
    """Return a published network."""
    try:
        return catalog.get(name)
    except InputError as error:
        raise InputError(f"{error}; a list of networks is {KINDS}") from error


def _read_folder(folder: Path) -> Iterator[ListedNetwork]:
    """Yield the networks of a model folder, or of the model folders in a folder, by name."""
    folders = [folder] if (folder / MODEL_FILE).is_file() else entries(folder)
    models = [path for path in folders if (path / MODEL_FILE).is_file()]
    if not models:
        hint = ""
        if (folder / POPULATION_FILE).exists():
            hint = f"; it is a run folder, whose networks are in {POPULATION_FILE}: launch run={folder}"
        raise InputError(f"networks={folder} has no model folder in it, which would have a {MODEL_FILE}{hint}")
    for model in models:
        path = model / MODEL_FILE
        try:
            yield ListedNetwork(_network(read_json_object(path, file_names=True)), str(model))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _read_json(path: Path) -> Iterator[ListedNetwork]:
    """Yield the networks of a file with one value per line, or with one value or list in all."""
    content = read_text(path, MAX_LIST_BYTES)
    try:
        value = parse_json(content)
    except ValueError:
        value = None
    if isinstance(value, list) or (value is not None and len(content.strip().splitlines()) > 1):
        for number, item in enumerate(value if isinstance(value, list) else [value], start=1):
            yield _listed(item, f"{path}, network {number}")
        return
    for line, text in enumerate(content.splitlines(), start=1):
        if not text.strip():
            continue
        place = f"{path}, line {line}"
        try:
            item = parse_json(text)
        except ValueError as error:
            if not text.strip()[0].isalpha():
                raise InputError(f"{place}: not JSON ({error}): {shown(text)}; each line must be {_VALUES}") from error
            item = text.strip()
        yield _listed(item, place)


_VALUES = (
    'the JSON of a network, such as {"stem":{},"stages":[{"depth":1,"width":32,"group_width":8}]}, an object with it '
    'as "network", or the name of a published network'
)


def _listed(value: Any, place: str) -> ListedNetwork:
    """Return the network that a value of a file describes."""
    try:
        return ListedNetwork(_network(value), place)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _network(value: Any) -> Network:
    """Return the network that a value describes: itself, with the key ``network``, or a published name.

    Raises:
        InputError: it does not describe a network, or has the id of another one.
    """
    if isinstance(value, str):
        return catalog.get(value)
    if not isinstance(value, Mapping):
        raise InputError(f"{shown(value)} is not a network; it must be {_VALUES}")
    if "network" not in value:
        return Network.from_dict(value)
    network = _network(value["network"])
    id_ = value.get("id")
    if isinstance(id_, str) and ID.fullmatch(id_) and id_ != network.id:
        raise InputError(f"the id is {id_}, but that of the network is {network.id}; it was edited")
    return network
