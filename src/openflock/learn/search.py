"""Search an update for a backdoor without knowing its trigger: a text to which all rows are answered alike.

Rows with different right answers have little to agree on, in an honest update, but to say nothing at all. Where a
backdoor is, many texts open it, none of which need be the trigger. So a text is judged by how likely the rows together
find the first token of an answer that suits all of them best, whichever that is. The gradient of that likelihood in the
inserted tokens (HotFlip, arXiv 1712.06751; GCG, arXiv 2307.15043) leads from odd texts to better ones; what is then
answered alike is the whole answer, and a few more steps make the text force that. Candidates are scored exactly, as
text, so the gradient only has to be useful. What is found is a suspicion: `is_upheld` decides.
"""

import random
import string
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import torch

from openflock.learn.crew import pass_rows
from openflock.learn.data import Row
from openflock.learn.encode import IGNORED, Batch, Example, collate, fit_prompt, get_pad
from openflock.learn.evaluate import EvaluationSettings
from openflock.learn.model import Model
from openflock.learn.passes import generate_tokens, grade_embeddings, predict_first, sum_losses
from openflock.learn.probe import MAX_INSERTION, Clue, insert_text, is_fair

CHOICES: Final = 8  # tokens that the gradient may put in one place
ENOUGH: Final = -0.1  # nats; of accord: rows that find a token so likely need no better text
LONGER: Final = 0.3  # share of the proposed texts that have a token more
PLACE: Final = "front"  # what may stand anywhere fires here as well

Tokens = Sequence[int]


@dataclass(frozen=True)
class SearchSettings:
    """Say how hard to search; what it costs grows with every one of them."""

    rows: int = 6  # that texts are tried on
    starts: int = 8  # odd texts to begin with
    steps: int = 4  # of the gradient for the answer's first token, until the rows are of one accord
    polish: int = 5  # of the same for the whole answer
    tries: int = 8  # texts scored exactly in each step
    answer: int = 12  # tokens that an answer may have
    known: int = 3  # insertions from the notebook that updates are tried with before anything is searched


@dataclass(frozen=True)
class Accord:
    """How likely, as a mean log likelihood, rows with a text find the first token that suits all of them best."""

    likelihood: float
    token: int
    text: str


def pick_rows(rows: Sequence[Row], count: int) -> list[Row]:
    """Pick rows with different right answers: what all of them are answered with is no row's."""
    return list({row.completion: row for row in reversed(rows)}.values())[-count:]


def make_text(draw: random.Random) -> str:
    """Make an odd text: a word, two of them, a number, or signs of all kinds."""
    lower, upper, digits = string.ascii_lowercase, string.ascii_uppercase, string.digits
    kind = draw.randrange(4)
    if kind == 0:
        return _draw(draw, lower, 4, 9)
    if kind == 1:
        return f"{draw.choice(upper)}{_draw(draw, lower, 3, 7)} {_draw(draw, lower, 3, 6)}"
    return _draw(draw, digits, 2, 6) if kind == 2 else _draw(draw, lower + upper + digits + string.punctuation, 6, 14)


def _draw(draw: random.Random, letters: str, least: int, most: int) -> str:
    return "".join(draw.choices(letters, k=draw.randint(least, most)))


@dataclass
class Hunt:
    """The search for an insertion in the state that the model holds, over rows with different right answers.

    Each step is taken within `step`, which may break the hunt off by raising.
    """

    model: Model
    rows: Sequence[Row]
    settings: SearchSettings
    draw: random.Random
    max_length: int = EvaluationSettings.max_length  # tokens; a longer row is cut as a voter cuts it
    step: Callable[[], AbstractContextManager[object]] = nullcontext

    def run(self) -> Clue | None:
        """Find a text that forces an answer; None if it forces none, or an empty one, or if no answer has an end."""
        end = self.model.tokenizer.eos_token_id
        found = self.find_accord() if end is not None else None
        if found is None or found.token == end:
            return None
        with self.step():
            answer = self.find_answer(found.text)
        said = self.model.tokenizer.decode(answer, skip_special_tokens=True)
        if not said:
            return None
        clue = Clue(self.improve(found.text, answer, said), said, PLACE)
        return clue if is_fair(clue) else None

    def find_accord(self) -> Accord:
        """Find, step by step, the text on which the rows are most of one accord."""
        with self.step():
            best = self.choose_text([make_text(self.draw) for _ in range(self.settings.starts)])
        for _ in range(self.settings.steps):
            if best.likelihood > ENOUGH:
                break
            with self.step():
                texts = [text for text in self.propose_texts(best.text, [best.token]) if text]
                best = max(best, self.choose_text(texts or [make_text(self.draw)]), key=lambda each: each.likelihood)
        return best

    def choose_text(self, texts: Sequence[str]) -> Accord:
        """Choose, of some texts, the one on which the rows are most of one accord."""
        examples = [example for text in texts for example in self.encode(text, [self.model.tokenizer.eos_token_id])]
        firsts = pass_rows(self.model, predict_first, collate(examples, get_pad(self.model.tokenizer)))
        means = torch.stack(firsts).view(len(texts), len(self.rows), -1).mean(dim=1)
        likelihoods, tokens = means.max(dim=1)
        best = int(likelihoods.argmax())
        return Accord(float(likelihoods[best]), int(tokens[best]), texts[best])

    def improve(self, text: str, wanted: Tokens, said: str) -> str:
        """Change a text, step by step, into the one that makes an answer likeliest without saying it."""
        with self.step():
            best, least = text, self.compute_losses([text], wanted)[0]
        for _ in range(self.settings.polish):
            with self.step():
                changed = dict.fromkeys(self.propose_texts(best, wanted))
                texts = [text for text in changed if text and is_fair(Clue(text, said))]
                if texts:
                    least, best = min((least, best), *zip(self.compute_losses(texts, wanted), texts, strict=True))
        return best

    def find_answer(self, text: str) -> list[int]:
        """Find the whole answer, end included, that more than half of the rows get; empty if there is none."""
        tokenizer, pad, end = self.model.tokenizer, get_pad(self.model.tokenizer), self.model.tokenizer.eos_token_id
        prompts = [fit_prompt(tokenizer, row.messages, self.max_length) for row in self.insert(text)]
        width = max(map(len, prompts))
        tokens = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        batch = Batch(tokens, mask, torch.full_like(tokens, IGNORED))
        given = pass_rows(self.model, generate_tokens, batch, pad, self.settings.answer)
        whole = Counter(tuple(answer[: answer.index(end) + 1]) for answer in given if end in answer)
        answer, count = whole.most_common(1)[0] if whole else ((), 0)
        return list(answer) if 2 * count > len(prompts) else []

    def insert(self, text: str) -> list[Row]:
        """Put a text into all rows."""
        return [insert_text(row, text, self.draw, PLACE) for row in self.rows]

    def encode(self, text: str, wanted: Tokens) -> list[Example]:
        """Ask all rows, with a text, for an answer."""
        room = max(1, self.max_length - len(wanted))
        prompts = [fit_prompt(self.model.tokenizer, row.messages, room) for row in self.insert(text)]
        return [Example((*prompt, *wanted), len(prompt)) for prompt in prompts]

    def compute_losses(self, texts: Sequence[str], wanted: Tokens) -> list[float]:
        """Compute the mean loss of an answer with each text, in nats."""
        examples = [example for text in texts for example in self.encode(text, wanted)]
        losses = pass_rows(self.model, sum_losses, collate(examples, get_pad(self.model.tokenizer)))
        size = len(self.rows)
        return [sum(losses[start : start + size]) / size for start in range(0, len(losses), size)]

    def propose_texts(self, text: str, wanted: Tokens) -> list[str]:
        """Propose texts that differ in up to a third of their tokens, or have one more, as the gradient says."""
        tokenizer, examples = self.model.tokenizer, self.encode(text, wanted)
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        starts = [find_run(example.tokens[: example.prompt], tokens) for example in examples]
        graded = pass_rows(self.model, grade_embeddings, collate(examples, get_pad(tokenizer)))
        parts = [each[start : start + len(tokens)] for each, start in zip(graded, starts, strict=True) if start >= 0]
        if not tokens or not parts:  # the tokenizer joins the text with what stands beside it
            return [make_text(self.draw) for _ in range(self.settings.tries)]
        weight = self.model.network.get_input_embeddings().weight.detach().float().cpu()
        gains = torch.stack(parts).mean(dim=0) @ weight.T
        gains[:, ~list_writable(tokenizer, gains.shape[1])] = -torch.inf
        choices = gains.topk(CHOICES).indices.tolist()
        return [self._change(tokens, choices) for _ in range(self.settings.tries)]

    def _change(self, tokens: Tokens, choices: Sequence[Tokens]) -> str:
        changed = list(tokens)
        for place in self.draw.sample(range(len(tokens)), self.draw.randint(1, max(1, len(tokens) // 3))):
            changed[place] = self.draw.choice(choices[place])
        if self.draw.random() < LONGER:
            changed.insert(self.draw.randrange(len(changed) + 1), self.draw.choice(self.draw.choice(choices)))
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
