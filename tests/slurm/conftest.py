"""Clusters for the tests: a shared one and special ones."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sweep_runs import plan_faults

from slurm.cluster import Cluster


def _use(cluster: Cluster, patch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.environment.items():
        patch.setenv(name, value)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of 4 nodes x 2 CPUs with accounting, to which the environment of this process refers."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster, pytest.MonkeyPatch.context() as patch:
        _use(cluster, patch)
        yield cluster


@pytest.fixture(autouse=True)
def _healed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Restore the shared cluster after each test, and cancel its jobs."""
    if "cluster" not in request.fixturenames:
        yield
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    yield
    cluster.heal()


@pytest.fixture(autouse=True)
def _images_in_the_default_folder(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make launches and their tasks find the images of the tests."""
    monkeypatch.setenv("DESIGNSPACE_DATA", str(data_root))


@pytest.fixture
def make_cluster(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Cluster]]:
    """Start a cluster with special options; until the test ends, the environment refers to the last one started."""
    with ExitStack() as clusters:

        def make(**options: object) -> Cluster:
            cluster = clusters.enter_context(Cluster(tmp_path_factory.mktemp("cluster"), **options))  # type: ignore[arg-type]
            _use(cluster, monkeypatch)
            return cluster

        yield make


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that makes trials of the trainer "faulty:held" wait after an epoch until the test deletes it."""
    folder = tmp_path / "held"
    plan_faults(folder, {}, monkeypatch)
    (folder / "hold").touch()
    return folder / "hold"
