"""Measurement of networks under one setting, with a reference network that tells the noise and the disturbances."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from designspace.measurement.machine import LoadWatch, processor_mhz, processor_name
from designspace.measurement.runners import Runner, check_device, gpu_mhz, median_ms, open_runner, with_threads
from designspace.measurement.windows import Judgement, Visit, Window, median_clock
from designspace.networks import catalog
from designspace.networks.complexity import complexity
from designspace.networks.network import Network
from designspace.spaces.costs import Cost, Setting
from designspace.support.checks import whole
from designspace.support.errors import InputError
from designspace.support.machine import available_bytes
from designspace.support.text import counted

REFERENCE = "regnetx_200mf"
"""Published network that is measured again and again."""
ROUNDS = 15
MIN_VISITS = 5
"""Least number of undisturbed visits for a cost. Of fewer, quartiles say little."""
VISIT_S = 0.04
"""Time of a visit. 100 networks then take 15 rounds in two minutes, and a visit of a small network is many runs."""
ENERGY_VISIT_S = 0.3
"""Time of a visit if energy is measured, since NVML's counter is updated about ten times per second."""
MAX_RUNS = 200
LONG_S = 0.5
"""Time of a run above which a visit needs no run before it that fills the caches."""
WINDOW_S = 1.0
"""Least time of a window: in less, the busy time of the cores is known too roughly (see `LoadWatch`)."""
DISTRIBUTION = "network-design-spaces"
MEMORY_SHARE = 0.5
"""Share of the available memory in which networks are kept between visits."""

OnCosts = Callable[[Sequence[Cost]], None]
"""Receives the costs of all networks that are measured so far, after each round from the fifth on."""
OnProgress = Callable[[int, str], None]
"""Receives the number of visits, of which each network has as many as there are rounds, and a status text."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The outcome of a measurement."""

    costs: tuple[Cost, ...]
    """Costs of the networks that were measured, in their order; none of those that were known."""
    noise: float
    """Relative difference of two latencies that noise alone exceeds in one of 20 cases, as a fraction; NaN before the
    reference network was visited three times (see `designspace.measurement.windows.Judgement.noise`)."""
    disturbances: str
    """What disturbed the measurement, as a sentence; empty if nothing did."""

    @property
    def disturbed(self) -> tuple[Cost, ...]:
        """Costs of networks that could not be measured undisturbed."""
        return tuple(cost for cost in self.costs if cost.disturbed)


class _Subject:
    """A network of a session. Its module is kept between visits if there is memory for it."""

    def __init__(self, network: Network, setting: Setting, resolution: int) -> None:
        self.network, self.id = network, network.id
        self._setting, self._resolution = setting, resolution
        self._runner: Runner | None = None
        self._run_s = 0.0
        self.is_kept = True

    @property
    def bytes(self) -> int:
        """Memory that the module needs between visits, roughly. ONNX Runtime keeps packed weights and maps as well."""
        count = complexity(self.network, self._resolution)
        more = count.params + self._setting.batch * count.activations if self._setting.device == "onnxruntime" else 0
        return 4 * (count.params + more) + (1 << 20)

    @property
    def visit_s(self) -> float:
        """Least time of a visit: that of one run."""
        return self._run_s

    def visit(self, seconds: float) -> Visit:
        """Run the network for about ``seconds``, after a run that is not timed, and return the visit."""
        runner = self._runner
        if runner is None:
            runner = open_runner(self.network, self._setting, self._resolution)
            runner.run(1)  # allocates memory and chooses kernels
            self._run_s = runner.run(1).ms[0] / 1000
        elif self._run_s < LONG_S:
            runner.run(1)
        count = min(MAX_RUNS, max(1, math.ceil(seconds / max(self._run_s, 1e-6))))
        runs = runner.run(count)
        self._run_s = median_ms(runs) / 1000
        self._runner = runner if self.is_kept else None
        return Visit.of(self.id, runs)


class Session:
    """Measures networks under one setting, in one process, as often as it is asked to.

    The reference network, the noise and what is usual on this machine are those of all calls.

    Args:
        setting: device, batch, precision and threads.
        resolution: side of the images, in pixels.
        in_channels: channels of the images.
        rounds: number of visits of each network.
        seed: determines the order of the visits.

    Raises:
        InputError: this machine cannot measure with the setting.
    """

    def __init__(
        self, setting: Setting, resolution: int, *, in_channels: int = 3, rounds: int = ROUNDS, seed: int = 0
    ) -> None:
        self.setting, self.resolution = setting, whole("resolution", resolution, 1)
        self.rounds = whole("rounds", rounds, MIN_VISITS)
        self._random = random.Random(whole("seed", seed))
        check_device(setting)
        is_gpu = setting.device == "cuda"
        self.machine = torch.cuda.get_device_name() if is_gpu else processor_name()
        reference = dataclasses.replace(catalog.get(REFERENCE), in_channels=in_channels)
        self._reference = _Subject(reference, setting, resolution)
        try:
            with with_threads(setting):
                has_energy = self._reference.visit(0).mj is not None
        except RuntimeError as error:
            raise InputError(f"{setting.describe()} does not work here: {str(error).splitlines()[0]}") from error
        self._visit_s = ENERGY_VISIT_S if has_energy else VISIT_S
        self._watch = LoadWatch(setting.threads)
        self._windows: list[Window] = []
        """Windows of all calls that have ended."""
        self._open_window()

    def known(self, costs: Iterable[Cost]) -> list[Cost]:
        """Return those of some costs that have the setting, machine and resolution of this session."""
        own = self.setting, self.machine, self.resolution
        return [cost for cost in costs if (cost.setting, cost.machine, cost.resolution) == own]

    def measure(
        self,
        networks: Iterable[Network],
        known: Iterable[Cost] = (),
        on_costs: OnCosts | None = None,
        on_progress: OnProgress | None = None,
    ) -> Measured:
        """Measure networks, in rounds, each in a new random order over all of them.

        Each time is corrected by that of the reference network around it, relative to its usual time, so that a machine
        whose speed changes does not rank networks. Visits while other processes used the cores do not count and are
        repeated, in at most as many rounds again, and in no more than `MIN_VISITS` if none of these counts. A network
        that has fewer than `MIN_VISITS` that count then gets a cost from all its visits, which is marked as disturbed.

        Args:
            networks: the networks; repetitions are measured once.
            known: costs that were measured before. Networks with one for the same setting, machine and resolution
                are left out.
            on_costs: called with the costs so far.
            on_progress: called after each visit.

        Raises:
            InputError: a network cannot be built.
        """
        measured = {cost.id for cost in self.known(known) if cost.quantity == "latency"}
        new = {network.id: network for network in networks if network.id not in measured}
        subjects = [_Subject(network, self.setting, self.resolution) for network in new.values()]
        self._choose_kept(subjects)
        first = len(self._windows)
        with with_threads(self.setting):
            self._measure(subjects, first, on_costs, on_progress)
        costs = self._costs(subjects, first, is_final=True)
        visits = statistics.median_low([cost.n for cost in costs if cost.quantity == "latency"] or [self.rounds])
        noise = Judgement.of(self._windows).noise(visits)
        return Measured(tuple(costs), noise, self._judge(first).describe())

    def _measure(
        self, subjects: Sequence[_Subject], first: int, on_costs: OnCosts | None, on_progress: OnProgress | None
    ) -> None:
        """Visit networks until each has enough visits that count in the windows from ``first`` on."""
        visited = repeats = 0
        self._open_window(self._reference.visit(self._visit_s).ms)
        for number in range(2 * self.rounds):
            waiting = self._waiting(subjects, first, number)
            if not waiting:
                break
            is_repeat = number >= self.rounds
            if number == self.rounds:
                repeats = len(self._windows)
            repeated = f"repeating visits of {counted(len(waiting), 'network')} beside other processes"
            status = repeated if is_repeat else f"round {number + 1} of {self.rounds}"
            for subject in self._random.sample(waiting, len(waiting)):
                self._visit(subject)
                visited += not is_repeat
                if on_progress:
                    on_progress(visited, status)
            self._close_window()  # what was disturbed decides on costs and on the next round
            if on_costs and number + 1 >= MIN_VISITS:
                on_costs(self._costs(subjects, first, is_final=number + 1 >= self.rounds))
            if number + 1 == self.rounds + MIN_VISITS and not self._judge(repeats).unloaded:
                break  # the disturbance lasts

    def _choose_kept(self, subjects: Sequence[_Subject]) -> None:
        """Choose the networks that are kept in memory; the others are built anew for each visit."""
        is_gpu = self.setting.device == "cuda"
        left = MEMORY_SHARE * (torch.cuda.mem_get_info()[0] if is_gpu else available_bytes())
        for subject in sorted(subjects, key=lambda subject: subject.bytes):
            left -= subject.bytes
            subject.is_kept = left > 0

    def _open_window(self, before_ms: float = math.nan) -> None:
        """Start a window.

        Args:
            before_ms: time of the reference network just before, unless other processes used the cores.
        """
        self._window, self._opened = Window(before_ms=before_ms), time.perf_counter()
        self._watch.restart()

    def _visit(self, subject: _Subject) -> None:
        """Visit a network, and end the window if it has lasted long enough."""
        self._window.visits.append(subject.visit(self._visit_s))
        # The reference takes at most about a ninth of the time, also if its runs are long.
        if time.perf_counter() - self._opened > max(WINDOW_S, 8 * self._reference.visit_s):
            self._close_window()

    def _close_window(self) -> None:
        """End the window with a visit of the reference network, and start the next one; an empty window stays open."""
        if self._window.visits:
            self._window.reference_ms = self._reference.visit(self._visit_s).ms
            self._window.is_loaded = self._watch.is_loaded()
            self._window.clock_mhz = gpu_mhz() if self.setting.device == "cuda" else processor_mhz()
            self._windows.append(self._window)
            self._open_window(math.nan if self._window.is_loaded else self._window.reference_ms)

    def _judge(self, first: int) -> Judgement:
        """Judge the windows from ``first`` on by what is usual in all of them."""
        return Judgement.of(self._windows).among(self._windows[first:])

    def _waiting(self, subjects: Sequence[_Subject], first: int, number: int) -> Sequence[_Subject]:
        """Return the networks to visit in a round: all, or later those with too few visits that count."""
        if number < self.rounds:
            return subjects
        unloaded = _visits_of(self._judge(first).unloaded)
        return [subject for subject in subjects if len(unloaded[subject.id]) < self.rounds]

    def _costs(self, subjects: Sequence[_Subject], first: int, *, is_final: bool) -> list[Cost]:
        """Return the costs of the networks that have enough undisturbed visits; finally, those of all networks.

        Args:
            subjects: the networks of a call.
            first: index of the first window of the call.
            is_final: whether all rounds have been, so that there will only be repeats.
        """
        windows, usual_ms = self._windows[first:], Judgement.of(self._windows).usual_ms()
        unloaded, all_visits = _visits_of(self._judge(first).unloaded), _visits_of(windows)
        speed = median_clock(windows), usual_ms
        costs = []
        for subject in subjects:
            is_disturbed = len(unloaded[subject.id]) < MIN_VISITS
            if is_disturbed and not is_final:
                continue
            visits = (all_visits if is_disturbed else unloaded)[subject.id]
            times = [visit.ms * usual_ms / local_ms for visit, local_ms in visits]
            costs.append(self._cost(subject.id, "latency", times, is_disturbed, *speed))
            energies = [visit.mj for visit, _ in visits if visit.mj is not None]
            if energies and min(energies) > 0:
                costs.append(self._cost(subject.id, "energy", energies, is_disturbed, *speed))
        return costs

    def _cost(
        self, id_: str, quantity: str, values: Sequence[float], disturbed: bool, clock_mhz: float, reference_ms: float
    ) -> Cost:
        """Return a cost from the values of several visits."""
        low, median, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return Cost(
            *(id_, quantity, self.setting, self.machine, self.resolution, median, low, high, len(values)),
            *(disturbed, clock_mhz, when, _versions(self.setting), reference_ms),
        )


def measure(
    networks: Iterable[Network],
    setting: Setting,
    resolution: int,
    *,
    known: Iterable[Cost] = (),
    on_costs: OnCosts | None = None,
    on_progress: OnProgress | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Measured:
    """Measure networks in one call; see `Session` and `Session.measure`.

    Raises:
        InputError: this machine cannot measure with the setting, or a network cannot be built.

    >>> from designspace.networks import catalog
    >>> networks = [catalog.get(name) for name in ("regnetx_200mf", "regnetx_400mf")]
    >>> small, large = measure(networks, Setting("cpu", threads=1), 32, rounds=5).costs
    >>> small.median < large.median
    True
    """
    networks = list(networks)
    channels = networks[0].in_channels if networks else 3
    session = Session(setting, resolution, in_channels=channels, rounds=rounds, seed=seed)
    return session.measure(networks, known, on_costs, on_progress)


def _visits_of(windows: Iterable[Window]) -> defaultdict[str, list[tuple[Visit, float]]]:
    """Return the visits of each network in windows, each with the time of the reference network around it."""
    visits: defaultdict[str, list[tuple[Visit, float]]] = defaultdict(list)
    for window in windows:
        for visit in window.visits:
            visits[visit.id].append((visit, window.local_ms))
    return visits


def _versions(setting: Setting) -> str:
    """Return the versions of what ran the network and of this package."""
    # torch's own version tells the build, which its metadata may not.
    is_onnx = setting.device == "onnxruntime"
    library = f"onnxruntime {importlib.metadata.version('onnxruntime')}" if is_onnx else f"torch {torch.__version__}"
    return f"{library}, {DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}"
