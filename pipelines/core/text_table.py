"""Tables and trees as plain text, for a terminal, a log or a file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 120  # letters of a line


def text_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, width: int = WIDTH) -> str:
    """Lay out rows below column headings.

    Args:
        title: stands above, at the left.
        columns: headings.
        rows: one text a column; what is too long continues on the next line.
        width: letters of a line.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return render_text(table, width=width)


def render_text(renderable: RenderableType, *, width: int) -> str:
    """Render anything of `rich` without colours, in lines of `width` letters."""
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=width).print(renderable, highlight=False)
    return text.getvalue()
