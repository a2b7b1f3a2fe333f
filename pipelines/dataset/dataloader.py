"""Loader processes whose errors arrive as they were raised: with their sentence and their hint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from typing_extensions import override

from a2h_models.errors import A2HError


class ErrorAsValueDataset(Dataset[Any]):
    """Draws in which an error is a value.

    Of an exception in a loader process torch makes another one, whose message is its traceback.
    """

    def __init__(self, draws: Dataset[Any]) -> None:
        self.draws = draws

    def __getitem__(self, position: int) -> Any:
        try:
            return self.draws[position]
        except A2HError as error:
            return error


class ErrorRaisingDataLoader(DataLoader[Any]):
    """Raises, in the process that trains, what its loader processes told."""

    @override
    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, A2HError):
                raise batch
            yield batch


def make_loader(
    draws: Dataset[Any], collate: Callable[[list[Any]], Any], *, workers: int, **batches: Any
) -> ErrorRaisingDataLoader:
    """A loader of draws.

    Args:
        draws: by position, or a stream of them.
        collate: draws → a batch.
        workers: loader processes; 0: the process itself.
        batches: `batch_sampler` or `batch_size`, as torch takes them.
    """
    stream = isinstance(draws, IterableDataset)
    return ErrorRaisingDataLoader(
        ErrorAsValueDataset(draws) if workers and not stream else draws,
        collate_fn=partial(_told_or_collated, collate),
        num_workers=workers,
        # not fork: a decord reader opened before a fork hangs in the child
        multiprocessing_context="forkserver" if workers else None,
        persistent_workers=bool(workers),
        pin_memory=torch.cuda.is_available(),
        **batches,
    )


def _told_or_collated(collate: Callable[[list[Any]], Any], draws: list[Any]) -> Any:
    told = [draw for draw in draws if isinstance(draw, A2HError)]
    return told[0] if told else collate(draws)
