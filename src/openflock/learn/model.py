"""Hold a base with one adapter, and move the agreed integers into it and trained factors out of it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from openflock.learn.base import Base, BaseError, Quantization, load_base
from openflock.learn.crew import count_crew, get_number, order
from openflock.update.fixed import FACTORS, Factor, GlobalState, Layout, Module, Vector, to_float

_SLOT = "default"  # peft's name for the adapter that is trained
_PAST = "past"  # and for what updates have appended to the state, where they are stacked

Targets = str | tuple[str, ...]


class Model:
    """Join a base and a LoRA adapter; the base is loaded once, and switching states copies factors only.

    `targets` are peft's target_modules. The adapter is float32 whatever the base is: it must hold the fixed-point
    values, and its optimizer steps are small. A base serves one Model: the adapter is built into its layers.
    """

    def __init__(self, base: Base, rank: int = 8, alpha: int = 16, targets: Targets = "all-linear") -> None:
        self.network: Any = base.network
        self.tokenizer: Any = base.tokenizer
        self.path = base.path
        self._layers = _attach_adapter(base, rank, alpha, targets)
        modules = [Module(name, layer.out_features, layer.in_features) for name, layer in self._layers.items()]
        self.layout = Layout(tuple(modules), rank, alpha)
        self.adapter = [weight for factor in FACTORS for weight in self.get_parameters(factor).values()]
        self.sent = [-1] * len(self.adapter)
        self._held: dict[Factor, tuple[Vector, list[int]]] = {}

    @property
    def device(self) -> torch.device:
        """Say where inputs go: the device of the embeddings."""
        device: torch.device = self.network.get_input_embeddings().weight.device
        return device

    def get_parameters(self, factor: Factor) -> dict[str, torch.nn.Parameter]:
        """Give the adapter's parameters of one factor by module name; A is (rank, inputs), B (outputs, rank)."""
        weights = ((name, layer.lora_A if factor == "A" else layer.lora_B) for name, layer in self._layers.items())
        return {name: slots[_SLOT].weight for name, slots in weights}

    def load_state(self, state: GlobalState) -> None:
        """Put a state into the adapter in place; BaseError when it belongs to another layout.

        A factor that is there already stays: the states of a round differ in what the round trains.
        """
        if state.layout.resize(state.layout.rank) != self.layout:
            raise BaseError(f"{self.path}: the state is for other modules, rank or alpha; use the task's base")
        if state.recipe.mode == "stack":
            self._load_past(state)
            return
        for layer in self._layers.values():
            layer._active_adapter = [_SLOT]
        for factor, vector in state.factors.items():
            held, versions = self._held.get(factor, (None, []))
            if held is not vector or versions != self._get_versions(factor):
                self.write_factor(factor, {name: to_float(array) for name, array in state.get_factor(factor).items()})
                self._held[factor] = vector, self._get_versions(factor)

    @torch.no_grad()
    def clear(self) -> None:
        """Clear the adapter: what is left is the base, as every task begins with it."""
        for layer in self._layers.values():
            layer._active_adapter = [_SLOT]
        for parameter in self.get_parameters("B").values():
            parameter.zero_()

    @torch.no_grad()
    def write_factor(self, factor: Factor, arrays: dict[str, NDArray[np.float32]]) -> None:
        """Copy one factor into the adapter in place."""
        for name, parameter in self.get_parameters(factor).items():
            parameter.copy_(torch.from_numpy(arrays[name]))

    def read_factor(self, factor: Factor) -> dict[str, NDArray[np.float32]]:
        """Copy one factor out of the adapter."""
        parameters = self.get_parameters(factor)
        return {name: weight.detach().cpu().numpy().copy() for name, weight in parameters.items()}

    def trainable(self, *factors: Factor) -> dict[str, torch.nn.Parameter]:
        """Let gradients flow to these factors only, and give their parameters, named A.module or B.module."""
        for each in FACTORS:
            for parameter in self.get_parameters(each).values():
                parameter.requires_grad_(each in factors)
                parameter.grad = None
        return {f"{f}.{name}": weight for f in factors for name, weight in self.get_parameters(f).items()}

    @torch.no_grad()
    def _load_past(self, state: GlobalState) -> None:
        """Put a stacked state beside the adapter, frozen, and clear the adapter: it is for the next components."""
        if count_crew() > 1:
            raise BaseError(f"{self.path}: mode stack runs in one process; start the node without a launcher")
        past = {factor: state.get_factor(factor) for factor in FACTORS}
        for name, layer in self._layers.items():
            layer._active_adapter = [_PAST, _SLOT] if state.layout.width else [_SLOT]
            for factor, slots in zip(FACTORS, (layer.lora_A, layer.lora_B), strict=True):
                slots[_SLOT].weight.zero_()
                if state.layout.width:
                    slots[_PAST] = _freeze(to_float(past[factor][name]), slots[_SLOT].weight.device)
            for shared in (layer.lora_dropout, layer.scaling, layer.use_dora, layer.lora_bias):
                shared[_PAST] = shared[_SLOT]

    def _get_versions(self, factor: Factor) -> list[int]:
        # A parameter counts its changes in place, an optimizer's too.
        return [parameter._version for parameter in self.get_parameters(factor).values()]


def _freeze(values: NDArray[np.float32], device: torch.device) -> torch.nn.Linear:
    linear = torch.nn.Linear(values.shape[1], values.shape[0], bias=False, device="meta")
    linear.weight = torch.nn.Parameter(torch.from_numpy(values).to(device), requires_grad=False)
    return linear


def load_model(
    path_or_id: str | Path,
    rank: int = 8,
    alpha: int = 16,
    device: str = "cpu",
    targets: Targets = "all-linear",
    quantization: Quantization = "none",
) -> Model:
    """Load a base and attach an adapter to it; raises BaseError.

    Where a launcher started several processes, the leader's call makes all of them load their shards.
    """
    if count_crew() > 1 and get_number() == 0:
        order(path_or_id, rank, alpha, device, targets, quantization)
    return Model(load_base(path_or_id, device, quantization=quantization), rank, alpha, targets)


def _attach_adapter(base: Base, rank: int, alpha: int, targets: Targets) -> dict[str, Any]:
    if any(isinstance(module, LoraLayer) for module in base.network.modules()):
        raise BaseError(f"{base.path}: this base carries an adapter already; load it anew")
    wanted = targets if isinstance(targets, str) else list(targets)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=wanted, lora_dropout=0.0, bias="none")
    try:
        # Not get_peft_model: its wrapper adds prefixes to the names, and nothing that is needed here.
        inject_adapter_in_model(config, base.network, adapter_name=_SLOT)
    except ValueError as error:
        raise BaseError(f"{base.path}: no adapter for {targets} ({error}); name linear layers") from error
    base.network.eval().requires_grad_(False)
    found = ((name, module) for name, module in base.network.named_modules() if isinstance(module, LoraLayer))
    layers = dict(sorted(found))
    for layer in layers.values():
        layer.lora_A.float()
        layer.lora_B.float()
    return layers
