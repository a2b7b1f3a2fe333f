"""Which commit of this project is running."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from a2h_models.data_types import SCHEMA_VERSION

UNKNOWN = "unknown"


class CodeState(NamedTuple):
    sha: str  # of the commit, or "unknown" outside a checkout
    clean: bool  # whether the packages and conf/ are exactly that commit


def git_state() -> CodeState:
    """Which commit runs. Outside a checkout, or without git, it is unknown and hence not clean."""
    try:
        import git  # comes with MLflow; its import fails where there is no git program
    except ImportError:
        return CodeState(UNKNOWN, clean=False)
    here = Path(__file__).resolve()
    try:
        with git.Repo(here, search_parent_directories=True) as repository:
            # an installed copy below another project's checkout is not ours
            repository.git.ls_files("--error-unmatch", str(here))
            changed = repository.git.status(
                "--porcelain", "--", *(str(here.parents[2] / part) for part in ("a2h_models", "pipelines", "conf"))
            )
            return CodeState(str(repository.head.commit.hexsha), clean=not changed)
    except (git.exc.GitError, ValueError, OSError):
        return CodeState(UNKNOWN, clean=False)


def code_tags() -> dict[str, str]:
    """The tags that say with which code a run or version was created."""
    code = git_state()
    return {"git_sha": code.sha, "code_clean": str(code.clean).lower(), "schema_version": str(SCHEMA_VERSION)}
