"""What a simulated run leaves behind, and what its nodes do beside training and judging."""

import json

from rich.console import Console

from openflock.app.rundir import RunDirectory
from openflock.app.settings import parse_config
from openflock.app.simulate import simulate
from openflock.app.world import build_working_nodes
from openflock.edge.journal import Journal

from .conftest import TABLE


def test_a_finished_run_has_closed_its_journal(finished):
    journal = RunDirectory(finished).journal
    assert journal.exists()
    assert not journal.with_name(journal.name + "-wal").exists()  # what was written stands in the file itself
    Journal(journal).close()  # and nobody holds its lock


def test_to_search_where_there_is_nothing_to_find_changes_no_bit(finished, tmp_path):
    summary = simulate(parse_config(TABLE | {"probe": True}), tmp_path, Console(quiet=True))
    assert summary["seconds"]["probe"] > 0
    assert summary["digest"] == json.loads((finished / "run.json").read_text())["summary"]["digest"]


def test_honest_nodes_search_with_the_rows_that_they_judge_by(tmp_path):
    table = TABLE | {"attackers": [{"domain": "shift"}]}
    for probe in (True, False):
        run = RunDirectory(tmp_path / str(probe))
        config = parse_config(table | {"probe": probe})
        run.open(config)
        *honest, malicious = build_working_nodes(config, run)
        assert malicious.searcher is None
        assert [node.searcher.rows if node.searcher else None for node in honest] == [
            node.voter.rows if probe else None for node in honest
        ]
