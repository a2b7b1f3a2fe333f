"""Pages: what comes from outside is escaped, what should be there is there."""

import base64
import io

import jinja2
import numpy as np
import pytest
from PIL import Image

from pipelines.reporting import html_page


def test_a_file_name_cannot_write_html(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "x.html").write_text("<p>{{ name }}</p>")
    monkeypatch.setattr(html_page, "TEMPLATES", tmp_path)
    assert html_page.render("x.html", name="<script>") == "<p>&lt;script&gt;</p>"


def test_a_forgotten_value_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "x.html").write_text("{{ forgotten }}")
    monkeypatch.setattr(html_page, "TEMPLATES", tmp_path)
    with pytest.raises(jinja2.UndefinedError, match="forgotten"):
        html_page.render("x.html")


def test_a_picture_travels_unchanged() -> None:
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    kind, data = html_page.picture(image).split(",")
    assert kind == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), image)


def test_a_plot_is_the_same_bytes_each_time() -> None:
    import matplotlib.pyplot as plt

    def drawn() -> str:
        figure, axis = plt.subplots()
        axis.plot([0, 1], [1, 0])
        image = html_page.plot(figure)
        plt.close(figure)
        return image

    assert drawn() == drawn()
