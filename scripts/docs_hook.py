"""Hook of MkDocs: add generated reference pages and the notebooks to the site, and fill its
navigation.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from generate_reference import pages  # noqa: E402


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace each `folder/` of the navigation by the pages of that folder, in the order of their names."""
    listed = {"tutorials/": [f"tutorials/{path.stem}.md" for path in notebooks()]}
    for folder in ("how-to/", "decisions/"):
        listed[folder] = [
            path.relative_to(config.docs_dir).as_posix() for path in _sorted(Path(config.docs_dir) / folder)
        ]
    config.nav = [
        {title: listed.get(place, place) if isinstance(place, str) else place for title, place in entry.items()}
        for entry in config.nav or []
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code and the notebooks."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    for notebook in notebooks():
        folder = f"tutorials/{notebook.stem}"
        text, pictures = to_markdown(json.loads(notebook.read_text(encoding="utf-8")), notebook.stem)
        files.append(File.generated(config, f"{folder}.md", content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"{folder}/{name}", content=picture))
    return files


def notebooks() -> list[Path]:
    """List the notebooks in their order."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def to_markdown(notebook: dict[str, Any], folder: str) -> tuple[str, dict[str, bytes]]:
    """Turn an executed notebook into Markdown and the PNG files that it refers to. Nothing is run."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```")
            for output in cell["outputs"]:
                data = output.get("data", {})
                if "image/png" in data:
                    name = f"{len(pictures) + 1}.png"
                    pictures[name] = base64.b64decode("".join(data["image/png"]))
                    parts.append(f"![Output of the cell above]({folder}/{name})")
                elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
                    parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n", pictures


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.md"), key=lambda path: (path.stem != "index", path.name))
