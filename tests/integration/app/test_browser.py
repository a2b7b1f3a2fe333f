"""The page in Chromium, as a visitor meets it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines import inference

playwright = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 60_000  # for a video on a busy machine
WATCH_PREVIEWS = """() => {
    window.previews = new Set();
    new MutationObserver(() => {
        const shown = document.querySelector("img.a2h-preview");
        if (shown) window.previews.add(document.querySelector(".a2h-drawing p").textContent);
    }).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""
PLAY = """async () => {
    const video = document.querySelector("#video video");
    video.muted = true;
    await new Promise((done) => { video.onended = done; video.play(); });
    return [video.error, video.currentTime, video.videoWidth];
}"""


class Visit:
    """A page, and every host that it asked."""

    def __init__(self, page: "playwright.Page", url: str) -> None:
        self.page = page
        self.hosts: set[str] = set()
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)

    def bring(self, portrait: Path, speech: Path) -> None:
        for where, file in (("#portrait", portrait), ("#speech", speech)):
            with self.page.expect_response(lambda response: "/upload" in response.url):
                self.page.set_input_files(f"{where} input[type=file]", file)
        self.page.wait_for_selector("#portrait img")
        self.page.wait_for_selector("#speech [data-testid^=waveform]")

    def talk(self) -> None:
        self.page.click("button#talk")


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is here: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture
def visit(browser: "playwright.Browser", url: str) -> Iterator[Visit]:
    page = browser.new_page(accept_downloads=True)
    yield Visit(page, url)
    page.close()


@pytest.mark.slow
def test_upload_talk_play_and_download(
    visit: Visit, url: str, portrait: Path, speech: Path, app_cache: Path, tmp_path: Path
) -> None:
    page = visit.page
    visit.bring(portrait, speech)
    page.evaluate(WATCH_PREVIEWS)
    visit.talk()
    told = page.wait_for_selector(".a2h-report").inner_text()
    assert "real-time factor" in told
    assert "mouth and speech" in told
    assert "models:/audio2head/1" in told
    assert any(seen.startswith("Frame ") for seen in page.evaluate("[...window.previews]"))  # while it was drawn
    page.wait_for_selector("#video video")
    error, seconds, width = page.evaluate(PLAY)
    assert error is None
    assert seconds == pytest.approx(0.8, abs=0.1)
    assert width == 64
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "video.mp4")
    assert download.value.suggested_filename == "face__hello.mp4"
    assert inference.inspect(tmp_path / "video.mp4")["model"] == "models:/audio2head/1"
    assert visit.hosts <= {urlsplit(url).netloc, ""}  # pictures within the page have no host

    assert list(app_cache.rglob("face__hello.mp4"))
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert gone(app_cache, "face__hello.mp4", "face.png", "hello.wav")


def gone(folder: Path, *names: str) -> bool:
    """Whether such files went, soon after their visitor."""
    import time

    until = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < until:
        if not any(list(folder.rglob(name)) for name in names):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_a_portrait_without_a_face_is_told_on_the_page(visit: Visit, meadow: Path, speech: Path) -> None:
    visit.bring(meadow, speech)
    visit.talk()
    told = visit.page.wait_for_selector(".a2h-refused").inner_text()
    assert told.splitlines() == [
        "no face was found in meadow.png",
        "give a picture that shows one human face from the front",
    ]


@pytest.mark.slow
def test_examples_and_the_models_card_are_there(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Example: Otis").click()
    page.wait_for_selector("#portrait img")
    assert page.locator(".a2h-example img").count() == 3
    page.get_by_text("What is known of this model").click()
    page.get_by_role("heading", name="Intended use").wait_for()
    assert page.get_by_label("Model").input_value() == "audio2head 1 (challenger)"
