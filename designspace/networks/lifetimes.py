"""How many values of maps are alive at once while the operations of a tape run, forwards and backwards.

Torch frees a map when nothing refers to it any more: in inference after its last use, in training when the operations
that keep it for the backward pass have run backwards. These run in the reverse order of the forward pass. A gradient
lives until the operation that gets it has run; the gradients of a map that several operations use are summed in place,
unless another operation still needs the first one.

Which maps are alive at a moment is a number of maps per size. A moment at which no size has more maps than at another
one cannot be the peak, so that a few sums of columns give the peaks of a whole population.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from designspace.networks.layers import ONE, Column
from designspace.networks.tape import Map, Size, Step, Tape


@dataclass(frozen=True, slots=True)
class TrainingUsage:
    """What a part of a network needs in training, in values per image, as columns. Its input is never included."""

    forward: Column
    """Most values alive at once in the forward pass."""
    backward: Column
    """Most values alive at once in the backward pass, with the gradients of output and input."""
    retained: Column
    """Values kept from the forward pass to the backward pass, without the output."""
    saves_input: bool = True
    """Whether the input is kept."""
    saves_output: bool = True
    """Whether the output is kept by the part itself."""


def inference_peak(tape: Tape, out: Map) -> Column:
    """Return the most values alive at once in inference; the input is included if the tape is folded."""
    if tape.traced is not None:
        return tape.traced.forward
    return _largest(_forward(tape, out, set()))


def training_usage(tape: Tape, out: Map, *, holds_output: bool = False, input_gradient: bool = True) -> TrainingUsage:
    """Return what a part needs in training.

    Args:
        tape: its operations.
        out: its output.
        holds_output: whether the caller holds the output and its gradient, which are then not included backwards.
        input_gradient: whether the gradient of the input is computed.
    """
    if tape.traced is not None:
        return TrainingUsage(tape.traced.forward, tape.traced.backward, tape.traced.retained)
    saved = {each.storage for step in tape.steps for each in step.saved}
    return TrainingUsage(
        forward=_largest(_forward(tape, out, saved)),
        backward=_largest(_Backward(tape, out, holds_output, input_gradient).moments()),
        retained=_largest([Counter(each.size for each in saved - {tape.x, out.storage})]),
        saves_input=tape.x in saved,
        saves_output=out.storage in saved,
    )


Moment = Mapping[Size, int]
"""Numbers of maps that are alive at once, by size."""


def _largest(moments: Iterable[Moment]) -> Column:
    """Return the most values alive at any of the moments."""
    candidates: list[Moment] = []
    for moment in moments:
        if not any(_is_within(moment, other) for other in candidates):
            candidates = [other for other in candidates if not _is_within(other, moment)]
            candidates.append(moment)
    return functools.reduce(np.maximum, map(_total, candidates))


def _is_within(moment: Moment, other: Moment) -> bool:
    """Return whether no size has more maps at one moment than at another."""
    return all(count <= other.get(size, 0) for size, count in moment.items())


def _total(moment: Moment) -> Column:
    """Return the number of values alive at a moment."""
    total: Column = sum((size.values if count == 1 else count * size.values for size, count in moment.items()), 0 * ONE)
    return total


class _Alive:
    """The maps that are alive."""

    def __init__(self) -> None:
        self._counts: dict[Size, int] = {}

    def add(self, *sizes: Size) -> None:
        """Add maps."""
        for size in sizes:
            self._counts[size] = self._counts.get(size, 0) + 1

    def remove(self, *sizes: Size) -> None:
        """Remove maps."""
        for size in sizes:
            self._counts[size] -= 1
            if not self._counts[size]:
                del self._counts[size]

    def now(self) -> Moment:
        """Return the numbers of maps by size."""
        return dict(self._counts)


def _forward(tape: Tape, out: Map, saved: Set[Map]) -> Iterator[Moment]:
    """Yield the maps alive after each step of a forward pass that keeps those in ``saved``."""
    alive, last_used = _Alive(), defaultdict[int, list[Map]](list)
    for storage, last in tape.last_use.items():
        if storage not in saved and storage is not out.storage and (tape.folded or storage is not tape.x):
            last_used[last].append(storage)
    if tape.folded:
        alive.add(tape.x.size)
    for index, step in enumerate(tape.steps):
        alive.add(*(each.size for each in step.outputs if each.base is None))
        yield alive.now()
        alive.remove(*(storage.size for storage in last_used[index]))


@dataclass(slots=True, eq=False)
class _Gradient:
    """A gradient of one or several maps."""

    size: Size
    holders: int = 0
    """Number of maps whose gradient it is and whose operation has not run backwards."""


class _Backward:
    """A backward pass."""

    def __init__(self, tape: Tape, out: Map, holds_output: bool, input_gradient: bool) -> None:
        self._tape, self._input_gradient = tape, input_gradient
        self._alive = _Alive()
        self._uses = Counter(storage for step in tape.steps for storage in {each.storage for each in step.saved})
        del self._uses[tape.x]
        if holds_output:
            del self._uses[out.storage]
        self._alive.add(*(storage.size for storage in self._uses))
        self._gradients = {out: _Gradient(out.size, holders=1 + holds_output)}
        if not holds_output:
            self._alive.add(out.size)

    def moments(self) -> Iterator[Moment]:
        """Yield the maps alive at the moments that may be the peak."""
        for step in reversed(self._tape.steps):
            incoming = [self._gradients.pop(each) for each in step.outputs if each in self._gradients]
            outgoing = self._outgoing(step, incoming)
            self._alive.add(*step.workspace)
            reduced = [
                (x, gradient) for x, gradient in outgoing if gradient not in incoming and gradient.size is not x.size
            ]
            self._alive.add(*(x.size for x, _ in reduced))
            yield self._alive.now()
            self._alive.remove(*step.workspace)
            for x, gradient in reduced:
                self._alive.remove(gradient.size)
                gradient.size = x.size
            for gradient in incoming:
                self._release(gradient)
            for storage in {each.storage for each in step.saved} & self._uses.keys():
                self._uses[storage] -= 1
                if not self._uses[storage]:
                    self._alive.remove(storage.size)
            for x, gradient in outgoing:
                yield from self._accumulate(x, gradient)

    def _outgoing(self, step: Step, incoming: Sequence[_Gradient]) -> list[tuple[Map, _Gradient]]:
        """Return the gradients that a step computes for its inputs, or passes on."""
        outgoing = []
        for x, size in zip(step.inputs, step.gradients, strict=True):
            if x is self._tape.x and not self._input_gradient:
                continue
            gradient = incoming[0] if size is None else _Gradient(size)
            if size is not None:
                self._alive.add(size)
            gradient.holders += 1
            outgoing.append((x, gradient))
        return outgoing

    def _accumulate(self, x: Map, gradient: _Gradient) -> Iterator[Moment]:
        """Add a gradient to that of a map, in place unless another map has the same one."""
        previous = self._gradients.get(x)
        if previous is None:
            self._gradients[x] = gradient
            return
        if previous.holders > 1:
            total = _Gradient(x.size, holders=1)
            self._alive.add(total.size)
            yield self._alive.now()
            self._gradients[x] = total
            self._release(previous)
        self._release(gradient)

    def _release(self, gradient: _Gradient) -> None:
        """Drop a gradient for one of its maps."""
        gradient.holders -= 1
        if not gradient.holders:
            self._alive.remove(gradient.size)
