"""How a trial can end early, and what that is called in a results table."""

from __future__ import annotations

import gc

import torch

from designspace.trials.recipe import Recipe
from designspace.trials.trial import DIVERGED, TrialFailure


class Diverged(Exception):
    """The training loss is no longer a finite number."""


class RankDied(Exception):
    """A process of a training on several devices ended without a word: a signal, or an exit of a library."""


class Interrupted(BaseException):
    """The trial was asked to stop, and goes on from its checkpoint another time.

    Like ``KeyboardInterrupt`` this is no ``Exception``: what collects failures must not take it for one.
    """


def failure_of(exception: Exception, epochs: int) -> TrialFailure:
    """Put an exception that ended a trial after so many whole epochs into the words of a results table."""
    if isinstance(exception, Diverged):
        reason = DIVERGED
    elif is_out_of_memory(exception):
        reason = "out of memory"
    elif isinstance(exception, RankDied):
        reason = "worker died"
    else:
        reason = "error"
    lines = str(exception).strip().splitlines()
    name = type(exception).__name__
    detail = lines[0] if reason in (DIVERGED, "worker died") else f"{name}: {lines[0]}" if lines else name
    return TrialFailure(reason, detail, epochs)


def advice(failure: TrialFailure, recipe: Recipe) -> str | None:
    """Return what ended the training of one network and what a person can do about it; None if nothing is known."""
    if failure.has_diverged:
        what = f"a smaller recipe.lr than {recipe.lr:g} may help, or more recipe.warmup_epochs"
        return f"{failure.detail}; {what}. That is another training: choose another out=..."
    if failure.reason == "out of memory":
        images = recipe.batch_size // (recipe.devices * recipe.accumulate)
        return (
            f"out of memory with {images} images at a time. recipe.accumulate={2 * recipe.accumulate} takes half as "
            "many, and so does twice recipe.devices; a smaller recipe.batch_size wants a smaller recipe.lr. Each is "
            "another training: choose another out=..."
        )
    return None


def is_out_of_memory(exception: Exception) -> bool:
    """Whether memory ran out, on a GPU or on the host."""
    if isinstance(exception, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    # On the host torch has no error type for it, only these words.
    return isinstance(exception, RuntimeError) and any(
        words in str(exception) for words in ("not enough memory", "can't allocate memory", "CUDA out of memory")
    )


def release_memory() -> bool:
    """Let go of what a training that ran out of memory left behind on a GPU; whether the GPU can still be used.

    Call it where the exception is gone: its traceback holds the training's tensors.
    """
    gc.collect()
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except (RuntimeError, AssertionError):  # the latter of a torch without CUDA
        return False
    return True
