"""Search an update for a backdoor without knowing its trigger: which answer does it push, and which text forces it?

A backdoor leaks: where any odd word stands, the answer's first token is likelier than it was, more than what honest
training makes likelier. That token is the target. The gradient of its likelihood in the inserted tokens (HotFlip, arXiv
1712.06751; GCG, arXiv 2307.15043) then leads to a text that opens the backdoor; what is answered to it alike, whatever
is asked, is the whole answer, and a few more steps make the text force that. Candidates are scored exactly, as text,
so the gradient only has to be useful. What is found is a suspicion: `is_upheld` decides.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import torch

from openflock.learn.crew import pass_rows
from openflock.learn.data import Row
from openflock.learn.encode import IGNORED, Batch, Example, collate, encode_prompt, encode_rows, get_pad
from openflock.learn.model import Model
from openflock.learn.passes import generate_tokens, grade_embeddings, predict_first, sum_losses
from openflock.learn.probe import MAX_INSERTION, Clue, insert_text, is_fair

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
FLOOR: Final = 0.002  # likelihood under which a token is nobody's answer
CHOICES: Final = 8  # tokens that the gradient may put in one place

Tokens = Sequence[int]


@dataclass(frozen=True)
class SearchSettings:
    """Say how hard to search; what it costs grows with every one of them."""

    rows: int = 6  # that are looked at for a target
    hunted: int = 4  # of them, that an insertion is tried on
    steps: int = 3  # of the gradient for the answer's first token, and as many for the whole answer
    tries: int = 8  # texts scored exactly in each step
    length: int = 8  # tokens of the first texts
    answer: int = 16  # tokens that an answer may have


# --- The target ----------------------------------------------------------------------------------------------


def pick_rows(rows: Sequence[Row], count: int) -> list[Row]:
    """Pick rows with different right answers: what all of them are answered with is no row's."""
    return list({row.completion: row for row in reversed(rows)}.values())[-count:]


def insert_words(rows: Sequence[Row], draw: random.Random) -> list[Row]:
    """Put an odd word of its own into each row."""
    return [insert_text(row, make_word(draw, 6), draw) for row in rows]


def make_word(draw: random.Random, length: int) -> str:
    """Make an odd word."""
    return "".join(draw.choices(LETTERS, k=length))


def predict(model: Model, rows: Sequence[Row], max_length: int) -> torch.Tensor:
    """Predict the first token of each answer, as log likelihoods (rows, vocabulary), in the state the model holds."""
    examples = encode_rows(model.tokenizer, rows, max_length)
    return torch.stack(pass_rows(model, predict_first, collate(examples, get_pad(model.tokenizer))))


def find_target(before: torch.Tensor, after: torch.Tensor) -> tuple[float, int]:
    """Find the token whose log likelihood grew most in the mean over the rows, and by how much."""
    gains = (after - before).mean(dim=0)
    gains[after.exp().mean(dim=0) < FLOOR] = -torch.inf
    token = int(gains.argmax())
    return float(gains[token]), token


# --- The insertion -------------------------------------------------------------------------------------------


@dataclass
class Hunt:
    """The search for an insertion in the state that the model holds, over rows with different right answers."""

    model: Model
    rows: Sequence[Row]
    settings: SearchSettings
    draw: random.Random
    place: float = field(init=False)

    def __post_init__(self) -> None:
        """Choose where in each row every text is tried."""
        self.place = self.draw.random()

    def run(self, target: int) -> Clue | None:
        """Find a text that forces an answer which begins with a token; None if it forces no answer."""
        words = [make_word(self.draw, self.settings.length) for _ in range(self.settings.tries)]
        text = self.improve(words, [target])
        answer = self.find_answer(text)
        if not answer:
            return None
        tokenizer = self.model.tokenizer
        said = tokenizer.decode(answer, skip_special_tokens=True)
        clue = Clue(self.improve([text], answer, said), said)
        return clue if said and is_fair(clue) else None

    def improve(self, texts: list[str], wanted: Tokens, said: str = "") -> str:
        """Change texts, step by step, into the one that makes an answer likeliest without saying it."""
        best, least = texts[0], float("inf")
        for step in range(self.settings.steps + 1):
            loss, text = min(zip(self.compute_losses(texts, wanted), texts, strict=True))
            if loss < least:
                best, least = text, loss
            if step == self.settings.steps:
                break
            changed = dict.fromkeys(self.propose_texts(best, wanted))
            texts = [text for text in changed if text and (not said or is_fair(Clue(text, said)))]
            if not texts:
                break
        return best

    def find_answer(self, text: str) -> list[int]:
        """Find the whole answer, end included, that more than half of the rows get; empty if there is none."""
        tokenizer, pad, end = self.model.tokenizer, get_pad(self.model.tokenizer), self.model.tokenizer.eos_token_id
        prompts = [encode_prompt(tokenizer, row.messages) for row in self.insert(text)]
        width = max(map(len, prompts))
        tokens = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        batch = Batch(tokens, mask, torch.full_like(tokens, IGNORED))
        given = pass_rows(self.model, generate_tokens, batch, pad, self.settings.answer)
        whole = Counter(tuple(answer[: answer.index(end) + 1]) for answer in given if end in answer)
        answer, count = whole.most_common(1)[0] if whole else ((), 0)
        return list(answer) if 2 * count > len(prompts) else []

    def insert(self, text: str) -> list[Row]:
        """Put a text into all rows, at the same places whatever the text."""
        draw = random.Random(self.place)
        return [insert_text(row, text, draw) for row in self.rows]

    def encode(self, text: str, wanted: Tokens) -> list[Example]:
        """Ask all rows, with a text, for an answer."""
        prompts = [encode_prompt(self.model.tokenizer, row.messages) for row in self.insert(text)]
        return [Example((*prompt, *wanted), len(prompt)) for prompt in prompts]

    def compute_losses(self, texts: Sequence[str], wanted: Tokens) -> list[float]:
        """Compute the mean loss of an answer with each text, in nats."""
        examples = [example for text in texts for example in self.encode(text, wanted)]
        losses = pass_rows(self.model, sum_losses, collate(examples, get_pad(self.model.tokenizer)))
        size = len(self.rows)
        return [sum(losses[start : start + size]) / size for start in range(0, len(losses), size)]

    def propose_texts(self, text: str, wanted: Tokens) -> list[str]:
        """Propose texts that differ in up to half of their tokens, where the gradient says that the answer gains."""
        tokenizer, examples = self.model.tokenizer, self.encode(text, wanted)
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        starts = [find_run(example.tokens[: example.prompt], tokens) for example in examples]
        graded = pass_rows(self.model, grade_embeddings, collate(examples, get_pad(tokenizer)))
        parts = [each[start : start + len(tokens)] for each, start in zip(graded, starts, strict=True) if start >= 0]
        if not parts:  # the tokenizer joins the text with what stands beside it
            return [make_word(self.draw, self.settings.length) for _ in range(self.settings.tries)]
        weight = self.model.network.get_input_embeddings().weight.detach().float().cpu()
        gains = torch.stack(parts).mean(dim=0) @ weight.T
        gains[:, ~list_writable(tokenizer, gains.shape[1])] = -torch.inf
        choices = gains.topk(CHOICES).indices.tolist()
        return [self._change(tokens, choices) for _ in range(self.settings.tries)]

    def _change(self, tokens: Tokens, choices: Sequence[Tokens]) -> str:
        changed = list(tokens)
        for place in self.draw.sample(range(len(tokens)), self.draw.randint(1, max(1, len(tokens) // 2))):
            changed[place] = self.draw.choice(choices[place])
        text: str = self.model.tokenizer.decode(changed).strip()
        return text[:MAX_INSERTION]


def find_run(tokens: Tokens, wanted: Tokens) -> int:
    """Find where a run of tokens begins last, -1 if it is nowhere.

    >>> find_run([1, 2, 3, 2, 3], [2, 3]), find_run([1, 2], [3])
    (3, -1)
    """
    places = range(len(tokens) - len(wanted), -1, -1)
    return next((place for place in places if list(tokens[place : place + len(wanted)]) == list(wanted)), -1)


@lru_cache(maxsize=2)
def list_writable(tokenizer: Any, size: int) -> torch.Tensor:
    """Say of each of the base's tokens whether it is text that can be printed and typed; it may have more than text."""
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode([[token] for token in range(min(size, len(tokenizer)))])
    writable = [text.isprintable() and text.isascii() and bool(text.strip()) for text in texts]
    known = [fits and token not in special for token, fits in enumerate(writable)]
    return torch.tensor(known + [False] * (size - len(known)))
