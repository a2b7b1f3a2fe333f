"""cluster/: where the work runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from a2h_models.settings import setting


@dataclass
class ClusterConfig:
    """Where the work runs: in this process, on Ray, or in processes that torchrun or SLURM started."""

    name: str = setting("local", choices=("local", "ray", "torchrun", "slurm"))
    """How processes are started."""

    address: str = setting("")
    """Address of an existing Ray cluster; empty starts Ray on this machine."""

    workers: int = setting(2, at_least=0, important=True)
    """Pieces of work, or training processes, at a time; 0 is a plain loop without Ray."""

    cpus_per_worker: float = setting(1.0, above=0, unit="cores")
    """Cores that Ray reserves for each worker."""

    gpus_per_worker: float = setting(0.0, at_least=0, unit="GPUs")
    """GPUs that Ray reserves for each worker."""

    resources: dict[str, float] = setting(factory=dict, at_least=0)
    """Ray resources of one's own that a worker needs: {video_node: 1}."""

    scheduling: str = setting("SPREAD", choices=("SPREAD", "DEFAULT"))
    """How Ray places tasks: over all nodes, or filling one after the other."""

    runtime_env: dict[str, Any] = setting(factory=dict)
    """Ray's runtime environment: working_dir, pip, env_vars, …"""

    max_in_flight: int = setting(0, at_least=0)
    """Tasks handed to Ray at a time; 0: twice the workers, on an existing cluster as many as those."""

    max_retries: int = setting(2, at_least=0)
    """Retries of a task whose worker died."""

    timeout_s: float = setting(1800.0, above=0, unit="s")
    """Time for one task; in preparation, the time without progress."""

    video_timeout_s: float = setting(300.0, above=0, unit="s")
    """Time for one video in preparation, however short it is."""

    video_timeout_factor: float = setting(20.0, at_least=0)
    """Further time for each second of that video."""

    memory_mb_per_worker: int = setting(4096, at_least=0, unit="MB")
    """Resident memory of a preparation worker; a video that takes more is out_of_memory; 0: no limit."""

    max_failures: int = setting(3, at_least=0)
    """Restarts of a training from its last checkpoint."""

    price_per_worker_hour: float = setting(0.0, at_least=0)
    """Price in your currency, for the estimate of --dry-run; 0: not known."""

    storage_path: str = setting("")
    """Where Ray Train keeps checkpoints; empty: paths.runs."""
