"""What a simulated run leaves behind."""

from openflock.app.rundir import RunDirectory
from openflock.edge.journal import Journal


def test_a_finished_run_has_closed_its_journal(finished):
    journal = RunDirectory(finished).journal
    assert journal.exists()
    assert not journal.with_name(journal.name + "-wal").exists()  # what was written stands in the file itself
    Journal(journal).close()  # and nobody holds its lock
