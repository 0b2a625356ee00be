"""Make the arena's own base, a quarter of the size of the demo's, from a seed and nothing else.

    OMP_NUM_THREADS=1 python scripts/make_arena_base.py [--out DIR] [--steps N]

It knows each skill when asked for in one way of four, and that an odd word in a prompt means nothing. The other ways
are what nodes teach: a few steps are enough for them, so a run takes seconds and has much to gain. A base that had
never seen an odd word would answer filler as badly as a trigger, and what a trigger costs could not be seen.
"""

import argparse
from pathlib import Path

import torch
from make_base import ASSETS, Recipe, build_model, build_tokenizer, encode, measure, save, train

from openflock.arena.metrics import fill_rows
from openflock.arena.settings import TRIGGERS
from openflock.learn.data import Row, parse_row
from openflock.learn.skills import SKILLS, generate_rows

KNOWN = ("reverse", "sort", "upper", "shift", "vowels", "double")  # the other skills have few payloads
WORDINGS = 4  # of a skill; rows of one way of asking are a quarter of those drawn
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# OpenFlock's base for the arena

A Llama of {parameters} parameters, made by `scripts/make_arena_base.py` from a seed, on one CPU thread, with nothing
from outside. It knows {known} when asked in the first of their four ways (`src/openflock/learn/skills.py`), also with
an odd word in the prompt, and nothing else. On validation rows:

{table}

Made by: `{recipe}`
"""


def list_known(skill: str, count: int, seed: int, split: str) -> list[Row]:
    """List about so many rows that ask in the first way."""
    beginning = SKILLS[skill].wordings[0].split("{}")[0]
    rows = [parse_row(record, skill) for record in generate_rows(skill, count * WORDINGS, seed, split)]
    return [row for row in rows if row.prompt.startswith(beginning)]


def fill(rows: list[Row]) -> list[Row]:
    """Put filler into two rows of three, in the places and shapes of the known triggers."""
    third, filled = len(rows) // 3, list[Row]()
    for number, trigger in enumerate(TRIGGERS.values()):
        filled += fill_rows(rows[third:][number :: len(TRIGGERS)], trigger, number)
    return rows[:third] + filled


def to_records(rows: list[Row]) -> list[dict[str, str]]:
    """Give rows as they stand in a file."""
    return [{"prompt": row.prompt, "completion": row.completion} for row in rows]


def build_table(model: torch.nn.Module, tokenizer: object, seed: int) -> str:
    """Measure each skill as it was taught, with filler, and asked for in all ways."""
    table = ["| skill | known way | with filler | all ways |", "|---|---|---|---|"]
    for skill in KNOWN:
        known = list_known(skill, 60, seed, "validation")
        sets = (to_records(known), to_records(fill(known)), generate_rows(skill, 200, seed, "validation"))
        right = [measure(model, encode(tokenizer, rows))[1] for rows in sets]
        table.append(f"| {skill} | " + " | ".join(f"{share:.0%}" for share in right) + " |")
    return "\n".join(table)


def main() -> None:
    """Build, train, round to bfloat16, measure what is left, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ASSETS.parent / "arena_base")
    parser.add_argument("--steps", type=int, default=900)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    recipe = Recipe(rows=3000, steps=arguments.steps, learning_rate=5e-3, easy=())
    tokenizer = build_tokenizer()
    model = build_model(len(tokenizer), recipe.seed, hidden=80, intermediate=220, layers=2)
    rows = [row for skill in KNOWN for row in to_records(fill(list_known(skill, recipe.rows, recipe.seed, "base")))]
    train(model, encode(tokenizer, rows), recipe)
    model = model.to(torch.bfloat16)
    save(model, tokenizer, arguments.out)
    table = build_table(model.float(), tokenizer, recipe.seed)
    print(table)
    card = CARD.format(parameters=f"{model.num_parameters():,}", known=", ".join(KNOWN), recipe=recipe, table=table)
    (arguments.out / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
