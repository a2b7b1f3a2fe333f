"""One of the processes that a test starts as torchrun would: trains what it is told to, and writes
down what it saw.

`python one_of_two.py TASKS OUT`: TASKS is a pickled list of (name, command, how); with "ended",
SIGTERM comes to one of the processes.
"""

import json
import os
import pickle
import signal
import sys
from pathlib import Path

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from a2h_models.training.callbacks import LastCheckpoint
from pipelines.training.launch import train

ENDED_AT = 2  # batches


def freeze_norms(module):
    """Batch norm that computes with what it has stored: what becomes of a sample does not depend on
    who else is in its batch.
    """
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()


def watcher(seen, how):
    """A hook that notes what each batch held."""

    def watch(self, trainer, module, batch, batch_idx):
        seen.append(batch.keys)
        freeze_norms(module)
        if how == "ended" and batch_idx == ENDED_AT and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    return watch


def main(tasks, out):
    torch.set_num_threads(1)
    for name, command, how in pickle.loads(tasks.read_bytes()):
        seen = []
        LastCheckpoint.on_train_batch_start = watcher(seen, how)
        try:
            train(command)
            code = None
        except SystemExit as error:
            code = error.code or 0
        (out / f"{name}.{os.environ['RANK']}.json").write_text(json.dumps({"keys": seen, "code": code}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
