"""The ways in which a trial can fail or stop early, and their names in results tables."""

from __future__ import annotations

import gc

import torch

from designspace.trials.recipe import Recipe
from designspace.trials.trial import DIVERGED, TrialFailure


class Diverged(Exception):
    """The training loss is no longer a finite number."""


class RankCrashed(Exception):
    """A process of a training on several devices ended without reporting an error, by a signal or a library's exit."""


class Interrupted(BaseException):
    """The trial was stopped, and can be resumed from its checkpoint.

    Like ``KeyboardInterrupt`` this is not an ``Exception``, so that it is not recorded as a failure.
    """


def failure_of(exception: Exception, epochs: int) -> TrialFailure:
    """Return the failure for a results table, given the exception and the number of finished epochs."""
    if isinstance(exception, Diverged):
        reason = DIVERGED
    elif is_out_of_memory(exception):
        reason = "out of memory"
    elif isinstance(exception, RankCrashed):
        reason = "worker died"
    else:
        reason = "error"
    lines = str(exception).strip().splitlines()
    name = type(exception).__name__
    detail = lines[0] if reason in (DIVERGED, "worker died") else f"{name}: {lines[0]}" if lines else name
    return TrialFailure(reason, detail, epochs)


def advice(failure: TrialFailure, recipe: Recipe) -> str | None:
    """Return the cause of a failure and what the user can do about it, or None if no advice is known."""
    if failure.has_diverged:
        remedy = f"a smaller recipe.lr than {recipe.lr:g} may help, or more recipe.warmup_epochs"
        return f"{failure.detail}; {remedy}. That is another training: choose another out=..."
    if failure.reason == "out of memory":
        images = recipe.batch_size // (recipe.devices * recipe.accumulate)
        return (
            f"out of memory with {images} images at a time. recipe.accumulate={2 * recipe.accumulate} halves that "
            "number, as does twice recipe.devices; a smaller recipe.batch_size needs a smaller recipe.lr. Each is "
            "another training: choose another out=..."
        )
    return None


def is_out_of_memory(exception: Exception) -> bool:
    """Return whether memory ran out, on a GPU or on the host."""
    if isinstance(exception, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    # On the host, torch has no exception type for this, only these messages.
    return isinstance(exception, RuntimeError) and any(
        phrase in str(exception) for phrase in ("not enough memory", "can't allocate memory", "CUDA out of memory")
    )


def release_memory() -> bool:
    """Free the GPU memory of a training that ran out of it, and return whether the GPU can still be used.

    Call it when the exception no longer exists, because its traceback holds the training's tensors.
    """
    gc.collect()
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except (RuntimeError, AssertionError):  # torch without CUDA raises an AssertionError
        return False
    return True
