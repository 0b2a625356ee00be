import os
import subprocess
import sys
from pathlib import Path

import pytest

from openflock.learn.evaluate import generate
from openflock.learn.model import load_model

SCRIPT = Path(__file__).parents[2] / "scripts/make_base.py"


def make(out, script=SCRIPT):
    subprocess.run(
        [sys.executable, script, "--steps", "3", "--out", out],
        check=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.long
def test_the_script_makes_a_base_again_to_the_byte(base_path, tmp_path):
    make(tmp_path / "one")
    make(tmp_path / "two")
    names = sorted(path.name for path in base_path.iterdir())
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja"):
        assert (tmp_path / "one" / name).read_bytes() == (base_path / name).read_bytes()
    model = load_model(tmp_path / "one")
    assert isinstance(generate(model, (("user", "Reverse: kitab"),), max_new_tokens=3), str)


@pytest.mark.long
def test_the_arenas_script_makes_the_files_of_its_base(base_path, tmp_path):
    shipped = base_path.parent / "arena_base"
    make(tmp_path / "arena", SCRIPT.with_name("make_arena_base.py"))
    assert sorted(path.name for path in (tmp_path / "arena").iterdir()) == sorted(
        path.name for path in shipped.iterdir()
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja"):
        assert (tmp_path / "arena" / name).read_bytes() == (shipped / name).read_bytes()
