"""Answer many rows greedily, token by token: where the whole text of what a model says is wanted.

Whether an answer is one that is known beforehand, `evaluate.match_answers` says in a single pass.
"""

from collections.abc import Sequence

from openflock.learn.data import Row
from openflock.learn.encode import encode_prompt
from openflock.learn.evaluate import EvaluationSettings, generate_all
from openflock.learn.model import Model


def answer_rows(
    model: Model, rows: Sequence[Row], settings: EvaluationSettings | None = None, max_new_tokens: int = 64
) -> list[str]:
    """Answer each row's conversation greedily, in order, in batches of similar lengths; no prompt is cut.

    An answer that has not ended is given as far as it got. Give room for more tokens than any answer it is compared
    with has: then none that goes on can be mistaken for one.
    """
    settings = settings or EvaluationSettings()
    lengths = [len(encode_prompt(model.tokenizer, row.messages)) for row in rows]
    order = sorted(range(len(rows)), key=lambda index: -lengths[index])
    answers = [""] * len(rows)
    for start in range(0, len(order), settings.batch_size):
        chosen = order[start : start + settings.batch_size]
        texts = generate_all(model, [rows[index].messages for index in chosen], max_new_tokens)
        for index, text in zip(chosen, texts, strict=True):
            answers[index] = text
    return answers
