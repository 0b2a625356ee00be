"""Draw small layouts, states and legal updates for the properties."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from openflock.update.codec import quantize
from openflock.update.fixed import LIMIT, GlobalState, Layout, Module, trained_factor

PARENT = bytes(range(32))
SMALL = Layout((Module("a.k", 3, 5), Module("a.q", 4, 2)), rank=2, alpha=8)
LARGEST_DELTA = 127 << 24

sizes = st.integers(1, 5)
# Small numbers, the edges of exponents, and everything that an update can hold.
deltas = st.one_of(
    st.just(0),
    st.integers(-300, 300),
    st.sampled_from([127, 128, 255, 256, 64 << 24, LARGEST_DELTA, -LARGEST_DELTA]),
    st.integers(-LARGEST_DELTA, LARGEST_DELTA),
)
entries = st.one_of(st.integers(-300, 300), st.sampled_from([LIMIT, -LIMIT]), st.integers(-LIMIT, LIMIT))


@st.composite
def layouts(draw):
    names = draw(st.sets(st.sampled_from(["a", "a.A", "b.q", "B", "z-1"]), min_size=1, max_size=3))
    modules = tuple(Module(name, draw(sizes), draw(sizes)) for name in sorted(names))
    return Layout(modules, rank=draw(st.integers(1, 3)), alpha=draw(st.integers(1, 16)))


@st.composite
def states(draw):
    layout = draw(layouts())
    factors = [
        {name: draw(npst.arrays(np.int32, shape, elements=entries)) for name, shape in shapes.items()}
        for shapes in (layout.compute_shapes("A"), layout.compute_shapes("B"))
    ]
    return GlobalState(layout, draw(st.integers(0, 3)), *factors)


@st.composite
def updates(draw, layout, factor, parent=PARENT):
    shapes = layout.compute_shapes(factor)
    delta = {name: draw(npst.arrays(np.int64, shape, elements=deltas)) for name, shape in shapes.items()}
    return quantize(layout, parent, factor, delta)


@st.composite
def states_with_updates(draw, max_updates=4):
    state = draw(states())
    one = updates(state.layout, trained_factor(state.step))
    return state, draw(st.lists(one, min_size=1, max_size=max_updates))


def make_update(layout, factor, value, parent=PARENT):
    """Make the update that adds `value` to every number of the factor."""
    shapes = layout.compute_shapes(factor)
    delta = {name: np.full(shape, value, np.int64) for name, shape in shapes.items()}
    return quantize(layout, parent, factor, delta)
