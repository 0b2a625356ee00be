"""docs/results.md says what the committed files say."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_tables_of_the_committed_page_are_those_of_the_committed_files(tmp_path):
    page = shutil.copy(ROOT / "docs" / "results.md", tmp_path)
    script = ROOT / "scripts" / "write_results.py"
    subprocess.run([sys.executable, script, ROOT / "benchmarks" / "results", page], check=True)
    assert Path(page).read_text() == (ROOT / "docs" / "results.md").read_text(), "run make results"
