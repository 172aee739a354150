"""Several processes that change one run folder at the same time, and processes that are killed while they do so."""

import itertools
import os
import shutil

import pytest
from kills import killed_before

from designspace.spaces import catalog
from designspace.support import files
from designspace.support.errors import InputError, RunError
from designspace.trials import claims
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe

SPACE = catalog.space("AnyNetXB", flops=(360e6, 400e6))
POPULATIONS = {n: SPACE.sample(n) for n in (3, 5, 8)}
SEED_1 = SPACE.sample(4, seed=1)


@pytest.fixture
def short_lease(monkeypatch):
    """Shorten the lease: if a process is killed before it has written its claim, the claim counts for a whole lease."""
    monkeypatch.setattr(claims, "LEASE_S", 0.3)


def contents(run):
    """Return the contents of a run folder's files, without claims and temporary files of killed processes."""
    files = (path for path in run.path.iterdir() if not path.name.endswith(".tmp") and not claims.is_claim(path.name))
    return {path.name: path.read_bytes() for path in files}


def at_once(*functions):
    """Call functions in separate processes that start together; return their exit codes."""
    ready, go = os.pipe()
    children = []
    for function in functions:
        if (child := os.fork()) == 0:
            status = 1
            try:
                os.close(go)
                os.read(ready, 1)
                function()
                status = 0
            except InputError:
                status = 2
            finally:
                os._exit(status)
        children.append(child)
    os.close(go)
    os.close(ready)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.mark.parametrize("before", [None, 3])
def test_the_same_command_completes_a_killed_sampling(before, tmp_path, short_lease):
    whole = RunFolder(tmp_path / "whole")
    if before:
        whole.create(POPULATIONS[before], {"command": "first"})
    start = shutil.copytree(whole.path, tmp_path / "start") if before else None
    whole.create(POPULATIONS[8], {"command": "second"})
    for number in itertools.count(1):
        run = RunFolder(tmp_path / f"killed{number}")
        if start:
            shutil.copytree(start, run.path)
        was_killed = killed_before(number, lambda: run.create(POPULATIONS[8], {"command": "second"}))  # noqa: B023
        if run.exists():
            assert len(run.population()) == len(run.ids())
            assert len(run.population()) in (before, 8)
        else:
            assert not before
        run.create(POPULATIONS[8], {"command": "second"})
        assert run.population() == POPULATIONS[8]
        assert {**contents(run), "sampling.json": b""} == {**contents(whole), "sampling.json": b""}
        if not was_killed:
            break
    assert number > 8  # four files, each created and renamed, and the claim


def test_extending_a_population_gives_the_same_files_as_sampling_it_whole(tmp_path):
    extended, whole = RunFolder(tmp_path / "extended"), RunFolder(tmp_path / "whole")
    for n in (3, 5, 8):
        extended.create(POPULATIONS[n], {})
    whole.create(POPULATIONS[8], {})
    assert contents(extended) == contents(whole)


def test_another_command_can_follow_a_killed_sampling(tmp_path, short_lease):
    for number in itertools.count(1):
        run = RunFolder(tmp_path / f"killed{number}")
        run.create(POPULATIONS[3], {})
        was_killed = killed_before(number, lambda: run.create(POPULATIONS[8], {}))  # noqa: B023
        if not was_killed:
            break
        if len(run.ids()) == 3:
            run.create(POPULATIONS[5], {})
            assert run.population() == POPULATIONS[5]


@pytest.mark.parametrize("sizes", [(5, 8), (8, 5), (8, 8), (5, 8, 3)])
def test_the_largest_of_several_simultaneous_samples_stays(sizes, tmp_path):
    for number in range(6):
        run = RunFolder(tmp_path / f"run{number}")
        if number % 2:
            run.create(POPULATIONS[3], {})
        codes = at_once(*(lambda n=n: run.create(POPULATIONS[n], {}) for n in sizes))  # noqa: B023
        assert run.population() == POPULATIONS[max(sizes)]
        # A smaller one that comes later is refused.
        assert all(code == 0 or (code == 2 and n < max(sizes)) for n, code in zip(sizes, codes, strict=True))
        assert all(not claims.is_claim(path.name) for path in run.path.iterdir())


def test_one_of_two_simultaneous_samples_with_different_seeds_is_refused(tmp_path):
    for number in range(6):
        run = RunFolder(tmp_path / f"run{number}")
        codes = at_once(lambda: run.create(POPULATIONS[5], {}), lambda: run.create(SEED_1, {}))  # noqa: B023
        assert sorted(codes) == [0, 2]
        assert run.population() == (POPULATIONS[5], SEED_1)[codes.index(0)]


def test_one_of_several_simultaneous_plans_is_written(tmp_path):
    recipes = [Recipe(epochs=epochs) for epochs in (3, 4, 5)]
    for number in range(6):
        run = RunFolder(tmp_path / f"run{number}")
        run.create(POPULATIONS[3], {})
        codes = at_once(*(lambda recipe=recipe: run.write_plan(recipe, 0) for recipe in recipes))  # noqa: B023
        assert sorted(codes) == [0, 2, 2]
        assert run.plan() == Plan(recipes[codes.index(0)], 0)


def test_a_plan_is_written_atomically(tmp_path):
    for number in itertools.count(1):
        run = RunFolder(tmp_path / f"killed{number}")
        run.create(POPULATIONS[3], {})
        was_killed = killed_before(number, lambda: run.write_plan(Recipe(epochs=3), 1))  # noqa: B023
        assert run.plan() in (None, Plan(Recipe(epochs=3), 1))
        run.write_plan(Recipe(epochs=3), 1)
        if not was_killed:
            break
    assert number > 2


def test_sampling_again_restores_a_damaged_population(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create(POPULATIONS[5], {})
    whole = contents(run)
    for name in ("sampling.json", "space.yaml"):
        (run.path / name).write_text("")
        with pytest.raises(RunError, match=name):
            run.population()
        with pytest.raises(RunError, match=name):  # it is unknown what another seed would replace
            run.create(SEED_1, {})
        run.create(POPULATIONS[5], {})
        assert contents(run) == whole
    table = run.path / "population.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:3]))
    with pytest.raises(RunError, match="holds 2 networks, but sampling.json says 5"):
        run.population()
    run.create(POPULATIONS[5], {})
    assert contents(run) == whole


def test_a_suspended_process_changes_nothing_after_another_has_sampled(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run")
    write = type(SEED_1).write

    def write_late(population, folder, **options):
        """Another process takes the folder over, as after a lease, and finishes before this one continues."""
        monkeypatch.undo()
        held = claims.current(folder)
        other = claims.take(folder, held.key)
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(files, "_checks", {})
            write(POPULATIONS[8], folder)
        other.release()
        write(population, folder, **options)

    monkeypatch.setattr(type(SEED_1), "write", write_late)
    with pytest.raises(RunError, match="another process has taken over"):
        run.create(POPULATIONS[5], {})
    assert run.population() == POPULATIONS[8]


def test_an_existing_population_is_not_written_again(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create(POPULATIONS[5], {})
    before = {path: path.stat().st_mtime_ns for path in (run.path, *run.path.iterdir())}
    run.create(POPULATIONS[5], {})
    assert {path: path.stat().st_mtime_ns for path in (run.path, *run.path.iterdir())} == before
