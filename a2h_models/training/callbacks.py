"""What happens beside a training: the last checkpoint is kept, a picture is drawn, the progress is
shown.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.utilities.exceptions import SIGTERMException
from typing_extensions import override

from a2h_models.errors import FailedError
from a2h_models.training.base import TrainingModule, to_bytes

LINES = 200  # of progress in a file, where nothing can be written over


def batches_done(trainer: pl.Trainer) -> int:
    """Training batches whose steps are in the weights."""
    return int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1


class LastCheckpoint(Callback):
    """Keeps `last.ckpt`: every so many batches, at the end, and when the machine is taken away
    (SIGTERM).

    Lightning's own `save_last` counts optimiser steps, and warns about every stage that has two
    optimisers. Its own answer to SIGTERM talks to the other processes from within the signal
    handler, whatever they are saying to each other just then; here all of them agree after a batch.
    """

    def __init__(self, path: Path, *, every: int) -> None:
        self.path, self.every = path, every
        self.asked_to_end = False

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning has put its own handler in place just before, and puts back what was there when
        it ends.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ask_to_end)

    def _ask_to_end(self, *_: int | FrameType | None) -> None:
        self.asked_to_end = True

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        ending = trainer.strategy.reduce_boolean_decision(self.asked_to_end, all=False)
        if ending or batches_done(trainer) % self.every == 0:
            self.save(trainer)
        if ending:
            raise SIGTERMException

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What is measured, and kept as one of the best, must be sound."""
        assert isinstance(pl_module, TrainingModule)
        pl_module.check_losses()

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Save aside and rename, unless a loss is no number: what happens on the way spares the
        last good checkpoint.
        """
        stage = trainer.lightning_module
        assert isinstance(stage, TrainingModule)
        stage.check_losses()
        aside = self.path.with_suffix(".part")
        try:
            trainer.save_checkpoint(aside)
            if trainer.is_global_zero:
                aside.replace(self.path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise FailedError(
                f"{stage.name}: the checkpoint of step {batches_done(trainer)} cannot be written to {self.path}: {error.strerror}",
                hint="free some space; the same command goes on from the checkpoint before",
            ) from error


class WeightAveraging(EMAWeightAveraging):
    """Averaged weights. They stand before LastCheckpoint among the callbacks, so that what it keeps
    has the average of that very step.

    Lightning's own puts the average into the network when training ends, before the last checkpoint
    is written; a run that goes on from there would go on from the average. Here that waits until
    everybody has seen the end.
    """

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pass

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._copy_average_to_current(pl_module)


class LogPictures(Callback):
    """What the network makes of the first validation batch, in the run's folder: a picture, and a
    short video of a window.

    Args:
        folder: of the run; gets `pictures` and `films`.
        publish: is given the path of each.
        write_video: path, frames chunk by chunk, no sound.
    """

    def __init__(
        self, folder: Path, publish: Callable[[Path], None], write_video: Callable[[Path, list[np.ndarray], None], None]
    ) -> None:
        self.folder, self.publish, self.write_video = folder, publish, write_video

    @override
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx or not trainer.is_global_zero:
            return
        from PIL import Image

        assert isinstance(pl_module, TrainingModule)
        picture, film = (self.folder / name / f"{batches_done(trainer):08d}" for name in ("pictures", "films"))
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_bytes(pl_module.picture(batch)[None])[0]).save(picture.with_suffix(".png"))
        self.publish(picture.with_suffix(".png"))
        frames = pl_module.film(batch)
        if frames is not None:
            self.write_video(film.with_suffix(".mp4"), [to_bytes(frames)], None)
            self.publish(film.with_suffix(".mp4"))


class BatchProgressBar(TQDMProgressBar):
    """One bar from the first batch to the last, named after the stage; in a file, so many lines in
    all.
    """

    def __init__(self, name: str, batches: int) -> None:
        super().__init__(refresh_rate=1 if sys.stdout.isatty() else max(1, batches // LINES))
        self.name, self.batches = name, batches

    @property
    def total_train_batches(self) -> int:
        return self.batches

    def init_train_tqdm(self) -> Tqdm:
        bar = super().init_train_tqdm()
        bar.total = self.batches
        bar.set_description(self.name, refresh=False)
        return bar

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """A training that goes on in the middle of an epoch begins none, and its speed is that of
        what is done now.
        """
        super().on_train_start(trainer, *args)
        self.train_progress_bar.initial = batches_done(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(self.name)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)
