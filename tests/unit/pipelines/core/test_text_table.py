"""Text in a table is printed as it is, and nothing is cut off."""

from pipelines.core.text_table import text_table


def test_brackets_are_no_markup() -> None:
    lines = text_table("mean [95 %]", ("metric", "[b]"), [("lse_c", "7.1 [6.9, 7.3]")], width=60).splitlines()
    assert lines[0].rstrip() == "mean [95 %]"
    assert "[b]" in lines[2]
    assert "7.1 [6.9, 7.3]" in lines[4]


def test_long_cells_continue_on_the_next_line() -> None:
    text = text_table("title", ("key",), [("x" * 30,)], width=20)
    assert text.count("x") == 30
    assert all(len(line) <= 20 for line in text.splitlines())
