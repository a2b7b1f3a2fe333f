"""Data loaders whose worker processes report errors with their message and hint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from typing_extensions import override

from a2h_models.errors import A2HError


class ErrorAsValueDataset(Dataset[Any]):
    """A dataset that returns an A2HError as an item instead of raising it.

    PyTorch replaces an exception of a worker process by another one, whose message is a traceback.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, position: int) -> Any:
        try:
            return self.dataset[position]
        except A2HError as error:
            return error


class ErrorRaisingDataLoader(DataLoader[Any]):
    """Raise, in the training process, the errors that worker processes returned as batches."""

    @override
    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, A2HError):
                raise batch
            yield batch


def make_loader(
    dataset: Dataset[Any], collate: Callable[[list[Any]], Any], *, workers: int, **batches: Any
) -> ErrorRaisingDataLoader:
    """Make a data loader.

    Args:
        dataset: items by position, or a stream of them.
        collate: items → a batch.
        workers: loader processes; 0 loads in the process itself.
        batches: `batch_sampler` or `batch_size`, as PyTorch takes them.
    """
    is_stream = isinstance(dataset, IterableDataset)
    return ErrorRaisingDataLoader(
        ErrorAsValueDataset(dataset) if workers and not is_stream else dataset,
        collate_fn=partial(_error_or_batch, collate),
        num_workers=workers,
        # not fork: a decord reader opened before a fork hangs in the child
        multiprocessing_context="forkserver" if workers else None,
        persistent_workers=bool(workers),
        pin_memory=torch.cuda.is_available(),
        **batches,
    )


def _error_or_batch(collate: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    errors = [item for item in items if isinstance(item, A2HError)]
    return errors[0] if errors else collate(items)
