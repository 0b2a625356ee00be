"""Several machines: a real Ray cluster, of one."""

import sys

import pytest

from openflock.arena.cells import run_cell
from openflock.arena.cluster import ClusterError, run_on_cluster

from .test_grid import forget_seconds, make_grid, pick


@pytest.fixture(autouse=True)
def as_eager_as_we_are(monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else a busy machine keeps its workers waiting for minutes


@pytest.mark.slow
def test_a_cluster_gives_the_records_that_one_process_gives():
    cells = [pick(make_grid(), "none", "mean")]
    found = {record["cell"]: forget_seconds(record) for record in run_on_cluster(cells, "local")}
    alone = [forget_seconds(run_cell(cell)) for cell in cells]
    assert found == {record["cell"]: record for record in alone}


@pytest.mark.long
def test_a_cell_that_no_machine_can_run_is_one_line():
    cell = pick(make_grid(), "none", "mean")
    nowhere = cell.model_copy(update={"world": cell.world.model_copy(update={"data": "/nowhere"})})
    with pytest.raises(ClusterError, match=r"cannot run a cell: .*nowhere") as caught:
        list(run_on_cluster([nowhere], "local"))
    assert "\n" not in str(caught.value)


def test_where_nothing_is_missing_no_cluster_is_asked():
    assert list(run_on_cluster([], "nowhere:1")) == []


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cells = [pick(make_grid(), "none", "mean")]
    with pytest.raises(ClusterError, match=r"no Ray cluster at auto: .*ray start --head begins one") as caught:
        list(run_on_cluster(cells, "auto"))
    assert "\n" not in str(caught.value)


def test_an_address_that_is_empty_names_no_cluster():
    with pytest.raises(ClusterError, match="names no cluster"):
        list(run_on_cluster([pick(make_grid(), "none", "mean")], ""))


def test_without_ray_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install '/path/to/checkout\[ray\]'"):
        list(run_on_cluster([pick(make_grid(), "none", "mean")], "auto"))
