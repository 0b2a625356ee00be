"""Let all processes that a launcher started (torchrun, srun) pass batches through one base, sharded over them.

The first is the leader, and the node: it alone decides, steps its optimizer, votes and writes. Its followers hold a
shard of the base and a copy of the adapter, and do what it orders; a process alone sends nothing. Orders are pickled:
whoever can reach the launcher's port can run code, so it belongs on a network of the node's own.
"""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Protocol

import torch
import torch.distributed as dist

from openflock.learn.encode import Batch

_IDLE = timedelta(days=365)  # a node may wait long between two rounds; if the leader dies, the launcher ends the others

Task = Callable[..., list[Any]]


class Shared(Protocol):
    """What a model must be so that a crew can share it; all its copies have the same parameters in the same order."""

    adapter: list[torch.nn.Parameter]
    sent: list[int]  # the version of each parameter that the followers have

    @property
    def device(self) -> torch.device:
        """Say where inputs go."""


def count_crew() -> int:
    """Count the processes of this node, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def get_number() -> int:
    """Give this process's number among the node's."""
    return int(os.environ.get("RANK", "0"))


def order(*arguments: Any) -> None:
    """Tell the followers what they must do together with this process, the leader."""
    dist.broadcast_object_list([arguments], src=0, group=_join())


def follow(load: Callable[..., Shared]) -> None:
    """Follow the leader until it ends; its first order is what to `load` the model with."""
    model = None
    while arguments := _receive():
        if model is None:
            model = load(*arguments)
        else:
            _do_part(model, *arguments)
    _part()


def dismiss() -> None:
    """End the followers, if there are any; the leader calls it once, last."""
    if count_crew() > 1:
        order()
        _part()


def pass_rows(model: Shared, task: Task, batch: Batch, *arguments: Any) -> list[Any]:
    """Run `task(model, rows, *arguments)` on the whole crew, each on its part; give the items in rows' order.

    A task must be a function of a module, since its name travels, and give one item for each of its rows.
    """
    if count_crew() == 1:
        return task(model, batch.to(model.device), *arguments)
    # A parameter counts its changes in place; only what changed travels.
    versions = [parameter._version for parameter in model.adapter]
    stale = [index for index, version in enumerate(versions) if version != model.sent[index]]
    model.sent = versions
    moving = [parameter.requires_grad for parameter in model.adapter]
    work = (task, batch.split(count_crew()), arguments, stale, moving)
    order(*work)
    return _do_part(model, *work)[: len(batch)]


def sum_at_leader(tensors: Sequence[torch.Tensor]) -> None:
    """Add the crew's tensors up, in place, in the leader's."""
    if count_crew() > 1:
        for tensor in tensors:
            dist.reduce(tensor, dst=0)


@cache
def _join() -> dist.ProcessGroup:
    """Join the crew, each process with a device of its own; give the group that orders go through."""
    device = torch.accelerator.current_accelerator()
    if device is not None:
        torch.accelerator.set_device_index(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("gloo" if device is None else f"cpu:gloo,{dist.get_default_backend_for_device(device)}")
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=_IDLE)
    return group


def _part() -> None:
    """Part when all have come to the end, and end the threads that orders went through.

    A connection that closes under another's hands aborts its process; so does a thread that still holds an order's
    tensors when the interpreter ends. The group ends its threads when its last name goes.
    """
    dist.barrier(group=_join())
    dist.destroy_process_group()
    _join.cache_clear()


def _receive() -> tuple[Any, ...]:
    box: list[Any] = [None]
    dist.broadcast_object_list(box, src=0, group=_join())
    return tuple(box[0])


def _do_part(
    model: Shared,
    task: Task,
    parts: Sequence[Batch],
    arguments: Sequence[Any],
    stale: Sequence[int],
    moving: Sequence[bool],
) -> list[Any]:
    _copy_adapter(model, stale, moving)
    part = parts[get_number()]
    items = task(model, part.to(model.device), *arguments)
    gathered: list[Any] | None = [None] * count_crew() if get_number() == 0 else None
    dist.gather_object(items, gathered, dst=0, group=_join())
    return [item for each in gathered or () for item in each]


@torch.no_grad()
def _copy_adapter(model: Shared, stale: Sequence[int], moving: Sequence[bool]) -> None:
    for index in stale:
        dist.broadcast(model.adapter[index].detach(), src=0)
    if get_number() > 0:
        for parameter, is_moving in zip(model.adapter, moving, strict=True):
            parameter.requires_grad_(is_moving)
            parameter.grad = None
