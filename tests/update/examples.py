"""Draw small layouts, states and legal updates for the properties."""

from typing import get_args

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from openflock.protocol.recipe import ONE, Encoding, Mode, Recipe
from openflock.update.codec import Coded, Update, get_digest, get_update_layout, make_update
from openflock.update.compress import FORMS, GROUP, KEPT
from openflock.update.fixed import FACTORS, LIMIT, GlobalState, Layout, Module, list_vectors
from openflock.update.robust import compute_plan

ENCODINGS = get_args(Encoding)
MODES = get_args(Mode)
SMALL = Layout((Module("a.k", 3, 5), Module("a.q", 4, 2)), rank=2, alpha=8)
LARGEST = {encoding: FORMS[encoding].largest for encoding in ENCODINGS}

sizes = st.sampled_from([1, 2, 3, 5, 23, 64, 81])  # a factor may have part of a block, a whole one, or a few
entries = st.one_of(st.integers(-300, 300), st.sampled_from([LIMIT, -LIMIT]), st.integers(-LIMIT, LIMIT))
stakes = st.one_of(st.integers(1, 10), st.integers(1, 10**30))


def vectors(size, elements=entries, dtype=np.int32):
    return npst.arrays(dtype, size, elements=elements)


# --- Layouts and states --------------------------------------------------------------------------------------


@st.composite
def layouts(draw):
    names = draw(st.sets(st.sampled_from(["a", "a.A", "b.q", "B", "z-1"]), min_size=1, max_size=3))
    modules = tuple(Module(name, draw(sizes), draw(sizes)) for name in sorted(names))
    return Layout(modules, rank=draw(st.integers(1, 3)), alpha=draw(st.integers(1, 16)))


@st.composite
def recipes(draw, modes=MODES, encodings=ENCODINGS, optimizers=("plain",)):
    mode, encoding = draw(st.sampled_from(modes)), draw(st.sampled_from(encodings))
    if mode == "stack":
        return Recipe(mode, encoding)
    optimizer = draw(st.sampled_from(optimizers))
    momentum = st.sampled_from([0, 1, 2**15, 58_982, ONE - 1]) if optimizer != "plain" else st.just(0)
    rate = draw(st.integers(1, 2**12) if optimizer == "adam" else st.one_of(st.just(ONE), st.integers(1, 2**18)))
    decay = st.sampled_from([0, 0, 1, 2**12, ONE])
    return Recipe(mode, encoding, optimizer=optimizer, rate=rate, momentum=draw(momentum), decay=draw(decay))


@st.composite
def states(draw, wanted=recipes()):  # noqa: B008
    recipe, layout = draw(wanted), draw(layouts())
    if recipe.mode == "stack":
        layout = layout.resize(draw(st.integers(0, 4)))
    drawn = {factor: draw(vectors(layout.compute_size(factor))) for factor in FACTORS}
    moments = {"velocity": entries, "rms": st.integers(0, 2**30)}
    velocity, rms = (
        {f: draw(vectors(layout.compute_size(f), each)) for kind, f in list_vectors(recipe) if kind == wanted}
        for wanted, each in moments.items()
    )
    return GlobalState(layout, recipe, draw(st.integers(0, 3)), drawn, velocity, rms)


# --- Updates -------------------------------------------------------------------------------------------------


def pack_by_hand(encoding, levels):
    """Pack whole blocks of levels as the table in compress.py says, without numpy."""
    if encoding == "int8":
        return bytes(level & 255 for level in levels)
    if encoding == "int4":
        return bytes(low & 15 | (high & 15) << 4 for low, high in zip(levels[::2], levels[1::2], strict=True))
    if encoding == "ternary":
        return bytes(sum((levels[i + j] + 1) * 3**j for j in range(5)) for i in range(0, len(levels), 5))
    packed = b""
    for i in range(0, len(levels), GROUP):
        used = [place << 4 | levels[i + place] & 15 for place in range(GROUP) if levels[i + place]]
        packed += bytes(used + [0] * (KEPT - len(used)))
    return packed


@st.composite
def parts(draw, encoding, size):
    """Draw any legal form of `size` numbers, as an enemy may build it; with the numbers themselves."""
    form = FORMS[encoding]
    levels = np.zeros((-(-size // form.block), form.block), np.int8)
    levels.ravel()[:size] = draw(vectors(size, st.integers(-form.limit, form.limit), np.int8))
    if form.kept:
        groups = levels.reshape(-1, GROUP)
        groups[(groups != 0).cumsum(axis=1) > draw(st.integers(0, form.kept))] = 0
    scales = draw(vectors(len(levels), st.integers(0, len(form.scales) - 1), np.uint8))
    scales[np.abs(levels).max(axis=1) <= form.limit // 2] = 0
    codes = np.frombuffer(pack_by_hand(encoding, levels.ravel().tolist()), np.uint8).reshape(len(levels), form.size)
    numbers = levels.astype(np.int64) * form.scales[scales].astype(np.int64)[:, None]
    return Coded(scales, codes), numbers.ravel()[:size]


@st.composite
def updates(draw, state, width=None):
    if state.recipe.mode == "stack":
        width = width or draw(st.integers(1, state.layout.rank))
    layout, encoding = get_update_layout(state, width), state.recipe.encoding
    drawn = {factor: draw(parts(encoding, layout.compute_size(factor)))[0] for factor in state.trained}
    return Update(get_digest(state), layout, encoding, drawn)


@st.composite
def states_with_updates(draw, max_updates=4, wanted=recipes()):  # noqa: B008
    state = draw(states(wanted))
    return state, draw(st.lists(updates(state), min_size=1, max_size=max_updates))


def fill_update(state, value, width=None):
    """Make the update that adds `value` to every number that the state trains."""
    layout = get_update_layout(state, width)
    return make_update(state, {f: np.full(layout.compute_size(f), value, np.int64) for f in state.trained})


def read_whole(update):
    """Read an update's numbers, by factor, as Python integers."""
    return {f: update.read(f, 0, update.layout.compute_size(f)).astype(np.int64).astype(object) for f in update.parts}


def read_matrices(update, factor):
    """Read one factor's matrices in the layout's order, as Python integers."""
    return list(update.layout.split(factor, read_whole(update)[factor]).values())


def plan_mean(recipe, weights):
    """Plan a merge in which nothing is compared."""
    products = np.zeros((len(weights), len(weights)), object)
    return compute_plan(recipe, weights, products, [index.to_bytes(4, "big") for index in range(len(weights))])
