"""The documentation: size of the README, commands that compose, and no words of private meaning."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.cli import main as cli
from pipelines.cli import train
from pipelines.cli.command import to_overrides
from pipelines.config import compose
from tests.paths import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PRIVATE_WORDS = (
    *("stranger", "strangers", "shelf", "diary", "wish", "desk", "crown", "claims", "judge", "judges", "mouths"),
    *("somebody", "nobody", "DECISIONS.md", "DESIGN", "the plan allows", "METHOD §"),
)


def test_readme_is_one_screen() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 450
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("page", TOP, ids=lambda page: page.name)
def test_links_beside_the_site_lead_somewhere(page: Path) -> None:
    """The site's build checks the links of docs/ only."""
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
    assert not missing


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda file: file.name)
def test_workflow_calls_targets_of_the_makefile(workflow: Path) -> None:
    (job,) = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    targets = [step["run"].removeprefix("make ") for step in job["steps"] if "run" in step]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def shell_commands() -> list[tuple[str, str]]:
    """Page and command of each line of a console block that calls `a2h`."""
    found = []
    for page in [*TOP, *PAGES]:
        for block in re.findall(r"```(?:console|bash)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = (re.match(r"(?:\$ |>\s+|srun )?(a2h .*)", line) for line in block.splitlines())
            found += [(page.name, line[1]) for line in lines if line]
    return found


@pytest.mark.parametrize(("page", "line"), shell_commands(), ids=str)
def test_documented_command_composes(page: str, line: str) -> None:
    """Every command of the pages is read by the real parser; what it would run is not run."""
    words = shlex.split(re.sub(r"\$\{?\w+\}?", "0", line), comments=True)[1:]
    assert words[0] in cli.COMMANDS, page
    arguments = [word for word in words[1:] if word not in {train.PIPELINE, train.MULTIRUN}]
    stage = ["stage=head_pose"] if train.PIPELINE in words else []
    _, overrides = to_overrides(cli.COMMANDS[words[0]], arguments)
    assert compose.compose(words[0], [*overrides, *stage])


@pytest.mark.parametrize("page", [*TOP, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_page_uses_standard_words(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = [word for word in PRIVATE_WORDS if re.search(rf"(?<![\w/`]){re.escape(word)}(?![\w`])", text)]
    assert not found


def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Dead links, missing pages and undocumented objects are warnings, and strict makes them errors."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "reference" / "commands.html").is_file()
