"""The shape of an adapter on Llama-3-70B, at any number of layers, and updates of it made of random bytes."""

from pathlib import Path

import numpy as np

from openflock.edge.blobs import DirectoryStore
from openflock.protocol.recipe import Recipe
from openflock.update.codec import Coded, Update, encode_update, stream_state
from openflock.update.compress import FORMS
from openflock.update.fixed import Factor, GlobalState, Layout, Module, initial_state

LAYERS, RANK, ALPHA = 80, 16, 32
HIDDEN, KEYS, BETWEEN = 8192, 1024, 28672  # 64 heads, of which 8 hold keys and values
SHAPES = {  # outputs, inputs
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (BETWEEN, HIDDEN),
    "mlp.up_proj": (BETWEEN, HIDDEN),
    "mlp.down_proj": (HIDDEN, BETWEEN),
}


def build_layout(layers: int) -> Layout:
    """Build the layout of rank 16 on all linear layers."""
    modules = (
        Module(f"model.layers.{layer}.{name}", *shape) for layer in range(layers) for name, shape in SHAPES.items()
    )
    return Layout(tuple(sorted(modules, key=lambda module: module.name)), RANK, ALPHA)


def put_initial(store: DirectoryStore, layers: int, recipe: Recipe) -> bytes:
    """Store the initial state and give its digest."""
    return store.put_stream(stream_state(initial_state(build_layout(layers), b"benchmark", recipe)))


def put_random_update(store: DirectoryStore, state: GlobalState, parent: bytes, seed: int) -> bytes:
    """Store an update of legal random bytes: every block full, scales as training gives them."""
    draw, encoding = np.random.default_rng(seed), state.recipe.encoding
    form, factor = FORMS[encoding], state.trained[0]
    blocks = -(-state.layout.compute_size(factor) // form.block)
    levels = draw.integers(-form.limit, form.limit + 1, (blocks, form.block), np.int8)
    levels[:, 0] = form.limit
    levels.ravel()[state.layout.compute_size(factor) :] = 0
    part = Coded(draw.integers(6, 12, blocks, dtype=np.uint8), form.pack(levels))
    return store.put(encode_update(Update(parent, state.layout, encoding, {factor: part})))


def write_float_adapter(path: Path, layout: Layout, seed: int) -> None:
    """Write what others send: both factors of every module as float32, in a safetensors file."""
    from safetensors.numpy import save_file

    draw = np.random.default_rng(seed)
    factors: tuple[Factor, ...] = ("A", "B")
    tensors = {
        f"{name}.lora_{factor}.weight": draw.standard_normal(shape, np.float32) * np.float32(0.01)
        for factor in factors
        for name, shape in layout.compute_shapes(factor).items()
    }
    save_file(tensors, path)
