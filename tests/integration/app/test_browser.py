"""The page in Chromium, as a user sees it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines import inference

playwright = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 60_000  # for a video on a busy machine
WATCH_PREVIEWS = """() => {
    window.previews = new Set();
    new MutationObserver(() => {
        const shown = document.querySelector("img.a2h-preview");
        if (shown) window.previews.add(document.querySelector(".a2h-progress p").textContent);
    }).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""
PLAY = """async () => {
    const video = document.querySelector("#video video");
    video.muted = true;
    await new Promise((done) => { video.onended = done; video.play(); });
    return [video.error, video.currentTime, video.videoWidth];
}"""


class BrowserPage:
    """A page, and every host that it contacted."""

    def __init__(self, page: "playwright.Page", url: str) -> None:
        self.page = page
        self.hosts: set[str] = set()
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(url)

    def upload(self, portrait: Path, speech: Path) -> None:
        for where, file in (("#portrait", portrait), ("#speech", speech)):
            with self.page.expect_response(lambda response: "/upload" in response.url):
                self.page.set_input_files(f"{where} input[type=file]", file)
        self.page.wait_for_selector("#portrait img")
        self.page.wait_for_selector("#speech [data-testid^=waveform]")

    def start(self) -> None:
        self.page.click("button#talk")


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        pytest.skip(f"no browser is here: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture
def session(browser: "playwright.Browser", url: str) -> Iterator[BrowserPage]:
    page = browser.new_page(accept_downloads=True)
    yield BrowserPage(page, url)
    page.close()


@pytest.mark.slow
def test_upload_talk_play_and_download(
    session: BrowserPage, url: str, portrait: Path, speech: Path, app_cache: Path, tmp_path: Path
) -> None:
    page = session.page
    session.upload(portrait, speech)
    page.evaluate(WATCH_PREVIEWS)
    session.start()
    report = page.wait_for_selector(".a2h-report").inner_text()
    assert "real-time factor" in report
    assert "mouth and speech" in report
    assert "models:/audio2head/1" in report
    assert any(line.startswith("Frame ") for line in page.evaluate("[...window.previews]"))  # while it was generated
    page.wait_for_selector("#video video")
    error, seconds, width = page.evaluate(PLAY)
    assert error is None
    assert seconds == pytest.approx(0.8, abs=0.1)
    assert width == 64
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "video.mp4")
    assert download.value.suggested_filename == "face__hello.mp4"
    assert inference.read_provenance(tmp_path / "video.mp4")["model"] == "models:/audio2head/1"
    assert session.hosts <= {urlsplit(url).netloc, ""}  # pictures within the page have no host

    assert list(app_cache.rglob("face__hello.mp4"))
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert are_deleted(app_cache, "face__hello.mp4", "face.png", "hello.wav")


def are_deleted(folder: Path, *names: str) -> bool:
    """Return whether files of these names are deleted soon after the session ended."""
    import time

    until = time.monotonic() + TIMEOUT_MS / 1000
    while time.monotonic() < until:
        if not any(list(folder.rglob(name)) for name in names):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_a_portrait_without_a_face_is_reported(session: BrowserPage, meadow: Path, speech: Path) -> None:
    session.upload(meadow, speech)
    session.start()
    message = session.page.wait_for_selector(".a2h-error").inner_text()
    assert message.splitlines() == [
        "no face was found in meadow.png",
        "give a picture that shows one human face from the front",
    ]


@pytest.mark.slow
def test_examples_and_the_models_card_are_there(session: BrowserPage) -> None:
    page = session.page
    page.get_by_role("button", name="Example: Otis").click()
    page.wait_for_selector("#portrait img")
    assert page.locator(".a2h-example img").count() == 3
    page.get_by_text("What is known of this model").click()
    page.get_by_role("heading", name="Intended use").wait_for()
    assert page.get_by_label("Model").input_value() == "audio2head 1 (challenger)"
