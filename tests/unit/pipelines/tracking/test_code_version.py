"""Which commit is running: known and clean, or not."""

from pathlib import Path

import pytest

from pipelines import tracking


def test_code_outside_a_checkout_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also below somebody else's repository: the file must be one that the commit knows."""
    import git

    from pipelines.tracking import code_version as module

    lone = tmp_path / "project" / "site-packages" / "pipelines" / "registry" / "tracking.py"
    lone.parent.mkdir(parents=True)
    lone.write_text("")
    monkeypatch.setattr(module, "__file__", str(lone))
    assert tracking.git_state() == ("unknown", False)
    git.Repo.init(tmp_path / "project").close()
    assert tracking.git_state() == ("unknown", False)


def test_a_commit_is_clean_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import git

    from pipelines.tracking import code_version as module

    file = tmp_path / "pipelines" / "registry" / "tracking.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    with git.Repo.init(tmp_path) as repository:
        repository.git.add(".")
        repository.git.execute(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "x"])
        sha = repository.head.commit.hexsha
    monkeypatch.setattr(module, "__file__", str(file))
    assert tracking.git_state() == (sha, True)
    (tmp_path / "pipelines" / "new.py").write_text("")
    assert tracking.git_state() == (sha, False)
