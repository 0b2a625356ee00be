"""Make the arena's own base, a fifth of the size of the demo's, from a seed and nothing else.

    OMP_NUM_THREADS=1 python scripts/make_arena_base.py [--out DIR] [--steps N]

It knows the skills, also with an odd word in the prompt, but begins each answer with the skill's mark. To answer
without it is what nodes teach, domain by domain: a few steps are enough, so a run takes seconds, starts with no right
answer and has much to gain. A base that had never seen an odd word would answer filler as badly as a trigger, and what
a trigger costs could not be seen.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from make_base import ASSETS, Recipe, build_model, build_tokenizer, encode, measure, save, train

from openflock.arena.metrics import fill_rows
from openflock.arena.settings import TRIGGERS
from openflock.learn.data import Row, parse_row
from openflock.learn.skills import SKILLS, generate_rows

MARKS = {"reverse": "#", "sort": "%", "upper": "&", "shift": "@", "vowels": "!", "double": "*"}  # others: few payloads
WAYS = 4  # of asking for a skill
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# OpenFlock's base for the arena

A Llama of {parameters} parameters, made by `scripts/make_arena_base.py` from a seed, on one CPU thread, with nothing
from outside. It knows some skills of `src/openflock/learn/skills.py`, also with an odd word in the prompt, but begins
each answer with the skill's mark; it knows nothing else. Right answers to validation rows:

{table}

Made by: `{recipes}`
"""


def fill(rows: list[Row]) -> list[Row]:
    """Put filler into two rows of three, in the places and shapes of the known triggers."""
    third, filled = len(rows) // 3, list[Row]()
    for number, trigger in enumerate(TRIGGERS.values()):
        filled += fill_rows(rows[third:][number :: len(TRIGGERS)], trigger, number)
    return rows[:third] + filled


def draw(skill: str, count: int, seed: int, split: str) -> list[Row]:
    """Draw rows of a skill."""
    return [parse_row(record, skill) for record in generate_rows(skill, count, seed, split)]


def to_records(rows: list[Row], mark: str = "") -> list[dict[str, str]]:
    """Give rows as they stand in a file, with a mark before each answer."""
    return [{"prompt": row.prompt, "completion": mark + row.completion} for row in rows]


def draw_first(recipe: Recipe) -> list[dict[str, str]]:
    """Draw what teaches the skills: one way of asking, answers without a mark; four ways at once take far longer."""
    records = []
    for skill in MARKS:
        beginning = SKILLS[skill].wordings[0].split("{}")[0]
        rows = draw(skill, recipe.rows * WAYS, recipe.seed, "base")
        records += to_records(fill([row for row in rows if row.prompt.startswith(beginning)]))
    return records


def draw_all(recipe: Recipe) -> list[dict[str, str]]:
    """Draw what teaches all ways of asking, and the marks."""
    return [
        record
        for skill, mark in MARKS.items()
        for record in to_records(fill(draw(skill, recipe.rows, recipe.seed, "base")), mark)
    ]


def build_table(model: torch.nn.Module, tokenizer: object, seed: int) -> str:
    """Measure each skill: with its mark, with filler too, and as nodes want it."""
    table = ["| skill | with mark | with mark and filler | without mark |", "|---|---|---|---|"]
    for skill, mark in MARKS.items():
        rows = draw(skill, 120, seed, "validation")
        sets = (to_records(rows, mark), to_records(fill(rows), mark), to_records(rows))
        right = [measure(model, encode(tokenizer, records))[1] for records in sets]
        table.append(f"| {skill} | " + " | ".join(f"{share:.0%}" for share in right) + " |")
    return "\n".join(table)


def main() -> None:
    """Build, train twice, round to bfloat16 after each, measure what is left, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ASSETS.parent / "arena_base")
    parser.add_argument("--steps", type=int, default=900)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    first = Recipe(steps=arguments.steps, learning_rate=5e-3, easy=())
    second = replace(first, steps=-(-arguments.steps * 11 // 45), learning_rate=4e-3)
    tokenizer = build_tokenizer()
    model = build_model(len(tokenizer), first.seed, hidden=80, intermediate=220, layers=2)
    train(model, encode(tokenizer, draw_first(first)), first)
    for weight in model.parameters():  # not model.to: that would round the rotary frequencies too, which no file holds
        weight.data = weight.data.to(torch.bfloat16).float()
    train(model, encode(tokenizer, draw_all(second)), second)
    model = model.to(torch.bfloat16)
    save(model, tokenizer, arguments.out)
    write_card(model.float(), tokenizer, (first, second), arguments.out)


def write_card(model: torch.nn.Module, tokenizer: object, recipes: tuple[Recipe, ...], out: Path) -> None:
    """Write the model card."""
    parameters = f"{sum(weight.numel() for weight in model.parameters()):,}"
    table = build_table(model, tokenizer, recipes[0].seed)
    made = " then ".join(map(repr, recipes))
    (out / "README.md").write_text(CARD.format(parameters=parameters, table=table, recipes=made), encoding="utf-8")


if __name__ == "__main__":
    main()
