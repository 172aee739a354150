"""Model folders on Hugging Face's hub: `push_to_hub` and `from_pretrained`.

A repository has the files of a model folder: weights, ``network.json``, ``config.json`` and the model card; and
``preprocessor_config.json``, with which transformers prepares images. The hub finds licence, data set and measured
accuracy in the head of the card.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

import designspace
from designspace.library.loading import load
from designspace.library.metadata import LIBRARY, card_head, image_processor_config, licence_fields
from designspace.library.saved import (
    CARD,
    CONFIG,
    NETWORK,
    ONNX,
    TORCH_EXPORT,
    WEIGHTS,
    is_model_folder,
    write_model,
)
from designspace.models import AnyNet, Backbone
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_json

__all__ = ["from_pretrained", "push_to_hub"]
_READ_FILES = [NETWORK, WEIGHTS]
"""Files of a repository that `from_pretrained` downloads."""
_PROCESSOR = "preprocessor_config.json"
"""How transformers prepares images."""
_PUSHED_FILES = [CARD, CONFIG, NETWORK, WEIGHTS, ONNX, TORCH_EXPORT, _PROCESSOR]


def push_to_hub(
    source: AnyNet | str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    licence: str | None = None,
) -> str:
    """Upload a model to the hub as one commit; return the commit's URL.

    The repository and the branch are created if they do not exist. Nothing is uploaded of a run except the model.

    Args:
        source: a model folder, whose own card is kept; a run folder, for its best network; or a module whose attribute
            ``weights`` describes it, as `designspace.load` returns.
        repo_id: name of the repository, such as ``"you/regnetx-flowers"``.
        private: create a private repository.
        token: token with the permission to write; None for that of ``hf auth login``.
        revision: branch; None for the main one.
        commit_message: None for a default.
        licence: licence of the weights for the card, such as ``"apache-2.0"``; None for that of the model. Weights that
            you trained from scratch have none until you choose one.

    Raises:
        InputError: the source is not a model, the name of the repository is not possible, or the token may not write.
        RunError: a file is missing or damaged, or the hub cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="designspace-hub-") as temporary:
        folder = Path(temporary) / "model"
        _prepare(source, folder, licence)
        with _hub_errors(repo_id, revision):
            api = HfApi(token=token, library_name=LIBRARY, library_version=designspace.__version__)
            name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if revision is not None and not revision.startswith("refs/"):
                api.create_branch(name, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message or "Upload a model of designspace",
                allow_patterns=_PUSHED_FILES,
                delete_patterns=[ONNX, TORCH_EXPORT],  # of earlier weights
            )
            return str(commit.commit_url)


def from_pretrained(
    source: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    **options: Any,
) -> AnyNet | Backbone:
    """Load a model from the hub, or from a model folder or run folder.

    Only the weights and ``network.json`` are downloaded, and no code is run. Without a connection, or if
    ``HF_HUB_OFFLINE=1`` is set, the model is read from the hub's cache.

    Args:
        source: name of the repository, such as ``"you/regnetx-flowers"``; or a folder, if it exists.
        revision: branch, tag or commit.
        cache_dir: folder for downloads; None for that of the hub's own library.
        token: token for a private repository; None for that of ``hf auth login``.
        options: options of `designspace.load`, such as ``features=True``, ``out_indices`` or ``output_stride``.

    Returns:
        The module in evaluation mode; its attribute ``weights`` describes how to prepare images.

    Raises:
        InputError: the repository, the revision or an option does not exist, or the repository has no model of
            designspace.
        RunError: the hub cannot be reached, or a file is damaged.
    """
    if Path(source).is_dir():
        if revision is not None:
            raise InputError(f"{source} is a folder and has no revisions: leave out revision={revision!r}")
        local: AnyNet | Backbone = load(source, **options)
        return local
    repo_id = str(source)
    with _hub_errors(repo_id, revision):
        folder = huggingface_hub.snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            allow_patterns=_READ_FILES,
            library_name=LIBRARY,
            library_version=designspace.__version__,
        )
    if not is_model_folder(Path(folder)):
        raise InputError(f"{repo_id} has no model of designspace: it has no file {NETWORK}")
    model: AnyNet | Backbone = load(folder, **options)
    return model


def _prepare(source: AnyNet | str | Path, folder: Path, licence: str | None) -> None:
    """Write the files that are uploaded into a folder.

    Raises:
        InputError: the source is not a model, or nothing is known about its weights.
        RunError: a file is missing or damaged.
    """
    if not isinstance(source, AnyNet | str | Path):
        raise InputError(f"a model is a folder or a module AnyNet, not {type(source).__name__}")
    model = source if isinstance(source, AnyNet) else load(source)
    info = model.weights
    if info is None:
        raise InputError("nothing is known about the weights of this model: set model.weights to a ModelInfo")
    if licence is not None:
        info = dataclasses.replace(info, licence=licence)
    write_model(folder, model, info)
    write_json(folder / _PROCESSOR, image_processor_config(info.preset))
    if isinstance(source, AnyNet) or not is_model_folder(Path(source)):
        return
    # With another licence, network.json and the files that it describes are new; the weights have the same bits.
    for name in _PUSHED_FILES if licence is None else (CARD, ONNX, TORCH_EXPORT):
        if (Path(source) / name).is_file():
            shutil.copyfile(Path(source) / name, folder / name)
    card = folder / CARD
    text = card.read_text(encoding="utf-8")
    if not text.startswith("---\n"):  # a card of an earlier version
        card.write_text(card_head(model.network, info) + text, encoding="utf-8")
    elif licence is not None:
        edited = ModelCard(text)
        for name, value in {"license_name": None, **licence_fields(licence)}.items():
            setattr(edited.data, name, value)
        card.write_text(str(edited), encoding="utf-8")


@contextlib.contextmanager
def _hub_errors(repo_id: str, revision: str | None) -> Iterator[None]:
    """Convert errors of the hub's library within the context to ours, each one sentence."""
    try:
        yield
    except HFValidationError as error:
        raise InputError(
            f"{repo_id!r} is neither a folder here nor the name of a repository, such as you/name"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"the repository {repo_id} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"the hub has no repository {repo_id}, or your token may not read it: check the name, or run hf auth login"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise RunError(
            f"{repo_id} cannot be fetched, and is not in the cache: the hub cannot be reached, or HF_HUB_OFFLINE is set"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise InputError(f"your token may not write to {repo_id}: run hf auth login, or give token=...") from error
        raise RunError(f"the hub answered for {repo_id}: {_first_line(error)}") from error
    except (OSError, RuntimeError) as error:  # the hub's library has a RuntimeError for a failed upload
        cause = f" ({_first_line(error.__cause__)})" if isinstance(error.__cause__, Exception) else ""
        raise RunError(f"{repo_id}: {_first_line(error)}{cause}") from error
    except Exception as error:  # the base class of a lost connection depends on the version of the hub's library
        if not type(error).__module__.partition(".")[0].startswith(("httpx", "requests")):
            raise
        raise RunError(f"the hub cannot be reached for {repo_id}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
