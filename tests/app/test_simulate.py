"""What a simulated run leaves behind, and what its nodes do beside training and judging."""

import json
from io import StringIO

import pytest
from rich.console import Console

from openflock.app.rows import seal_rows, share_rows
from openflock.app.rundir import RunDirectory
from openflock.app.settings import SettingsError, parse_config
from openflock.app.simulate import simulate
from openflock.app.world import build_working_nodes
from openflock.edge.blobs import DirectoryStore
from openflock.edge.journal import Journal
from openflock.learn.sealed import decode_sealed
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainError
from openflock.protocol.types import Reason

from .conftest import TABLE

SEALED = {**TABLE["rows"], "sealed": 4}


def test_a_finished_run_has_closed_its_journal(finished):
    journal = RunDirectory(finished).journal
    assert journal.exists()
    assert not journal.with_name(journal.name + "-wal").exists()  # what was written stands in the file itself
    Journal(journal).close()  # and nobody holds its lock


def test_a_committee_that_is_weak_is_named(tmp_path):
    config, said = parse_config(TABLE | {"rules": TABLE["rules"] | {"rounds": 1, "voter_seats": 3}}), StringIO()
    simulate(config, tmp_path / "run", Console(file=said))
    assert "weak: voter_seats = 3: 30 % of the stake gets half of the votes" in " ".join(said.getvalue().split())


@pytest.mark.long
def test_to_search_where_there_is_nothing_to_find_changes_no_bit(tmp_path):
    table = TABLE | {"rows": TABLE["rows"] | {"held_out": 12}}  # as many to search with as to be sure by
    bare, searched = (
        simulate(parse_config(table | {"probe": probe}), tmp_path / str(probe), Console(quiet=True))
        for probe in (False, True)
    )
    assert searched["seconds"]["probe"] > 0
    assert searched["digest"] == bare["digest"]


def test_honest_nodes_search_with_the_rows_that_they_judge_by_and_an_attacker_learns_nothing_to_avoid(tmp_path):
    table = TABLE | {"attackers": [{"domain": "shift"}]}
    for probe in (True, False):
        run = RunDirectory(tmp_path / str(probe))
        config = parse_config(table | {"probe": probe})
        run.open(config)
        *honest, malicious = build_working_nodes(config, run)
        assert malicious.searcher is malicious.voter.notebook is None
        assert all(node.voter.notebook for node in honest)
        assert [node.searcher.rows if node.searcher else None for node in honest] == [
            node.voter.rows if probe else None for node in honest
        ]


@pytest.mark.slow
@pytest.mark.long
def test_two_holders_of_a_domain_are_paid_once_the_creator_opens_rows(finished, tmp_path):
    """And two processes write the log and the blobs that one writes."""
    config = parse_config(TABLE | {"rows": SEALED})
    for jobs in (1, 2):
        simulate(config, tmp_path / str(jobs), Console(quiet=True), jobs)
    assert count_pay(finished, Reason.PROPOSAL) == 0
    assert count_pay(tmp_path / "1", Reason.PROPOSAL) > 0
    logs, blobs = zip(*(read_left(tmp_path / jobs) for jobs in "12"), strict=True)
    assert logs[0] == logs[1]
    assert blobs[0] == blobs[1]


def read_left(run):
    return (run / "events.jsonl").read_bytes(), {file.name for file in (run / "blobs").iterdir()}


def count_pay(run, reason):
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return sum(
        line["args"]["amount"] for line in lines if line["name"] == "Credited" and line["args"]["reason"] == reason
    )


@pytest.mark.slow
def test_a_training_that_fails_in_another_process_is_told_as_in_ones_own(tmp_path):
    table = TABLE | {"train": {"steps": 2, "learning_rate": 1e30}}
    with pytest.raises(TrainError, match="lower the learning rate"):
        simulate(parse_config(table), tmp_path / "run", Console(quiet=True), jobs=2)


def test_what_is_sealed_is_nobody_elses_row(tmp_path):
    config = parse_config(TABLE | {"rows": SEALED})
    held = {row for share in share_rows(config, config.domains) for row in (*share.train, *share.held_out)}
    chest = DirectoryStore(tmp_path)
    opened = [decode_sealed(chest.fetch(digest, 2**20), 2) for digest in seal_rows(config, config.domains, chest, b"")]
    rows = [row for groups in opened for group in groups for row in group]
    assert {len(group) for groups in opened for group in groups} == {4}
    assert len(set(rows)) == len(rows)
    assert not held & set(rows)


def test_too_few_sealed_rows_of_a_domain_are_named(tmp_path):
    for domain in ("reverse", "shift"):
        (tmp_path / "data" / domain).mkdir(parents=True)
        for split, count in (("train", 40), ("sealed", 3)):
            lines = [json.dumps(row) for row in generate_rows(domain, count, 1)]
            (tmp_path / "data" / domain / f"{split}.jsonl").write_text("\n".join(lines))
    config = parse_config(TABLE | {"rows": SEALED, "data": str(tmp_path / "data")})
    with pytest.raises(SettingsError, match=r"sealed\.jsonl has 3 rows"):
        seal_rows(config, ["reverse", "shift"], DirectoryStore(tmp_path / "chest"), b"")
