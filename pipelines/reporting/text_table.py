"""Tables of text, for terminals and log files."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

WIDTH = 120  # characters


def draw_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a table as text; long cells are folded."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    text = StringIO()
    Console(file=text, width=WIDTH).print(table, highlight=False)
    return text.getvalue()
