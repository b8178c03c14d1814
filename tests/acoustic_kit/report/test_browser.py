"""The page in headless Chromium."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from acoustic_kit.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Start the browser of `AKIT_CHROMIUM`, of the system or of playwright; skip the test if there is none."""
    api = pytest.importorskip("playwright.sync_api")
    named = os.environ.get("AKIT_CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with api.sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=found, args=FLAGS)
        except api.Error as error:
            reason = str(error).partition("\n")[0]
            pytest.skip(f"no Chromium starts ({reason}); install it, or name it in AKIT_CHROMIUM")
        yield chromium
        chromium.close()


class Visit:
    """Page opened from disk, with its console errors, requests and dialogs."""

    def __init__(
        self, browser: "Browser", path: Path, *, size: dict[str, int] = DESKTOP, scheme: str = "light"
    ) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in {"error", "warning"} else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.goto(path.as_uri())

    def until(self, expression: str) -> None:
        """Wait for what an expression says; playwright's own waiting needs the `eval` that the page forbids."""
        for _ in range(100):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"in five seconds it did not happen: {expression}")

    def overflow(self) -> int:
        """By how much the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.fixture
def report(competition: Any) -> Path:
    for name, skill in (("good-1a2b3c4d", 3), ("good-5e6f7a8b", 2), ("a_name_that_is_rather_long_for_a_phone-0", 1)):
        competition.log(competition.run(name, skill, seed=skill))
    competition.run("all", oof=False, full=True, folds=["full"])
    return write_report(competition.workspace)


@pytest.fixture
def visit(browser: "Browser", report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    visit.context.close()


def test_it_opens_from_disk_without_errors_and_loads_nothing(visit: Visit, report: Path) -> None:
    visit.until("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert visit.errors == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]
    assert visit.page.locator("section").count() >= 4


def test_the_policy_holds(visit: Visit) -> None:
    visit.page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'owned'";
        document.body.append(script);
        const image = document.createElement("img");
        image.src = "http://127.0.0.1:9/x.png";
        document.body.append(image);
    }""")
    visit.page.wait_for_timeout(100)
    assert visit.page.title() == "work – akit report"
    assert len(visit.errors) >= 2  # both were refused, and the console says so


def test_the_players_play(visit: Visit) -> None:
    players = visit.page.locator("audio")
    assert players.count() > 2
    visit.until("[...document.querySelectorAll('audio')].every((a) => a.readyState >= 1)")
    durations = visit.page.evaluate("[...document.querySelectorAll('audio')].map((a) => a.duration)")
    assert durations == pytest.approx([0.25] * players.count(), abs=0.02)
    visit.page.evaluate("document.querySelectorAll('audio')[0].play()")
    visit.until("document.querySelectorAll('audio')[0].ended")
    assert visit.page.evaluate("document.querySelectorAll('audio')[0].currentTime") == pytest.approx(0.25, abs=0.02)


def test_one_player_plays_at_a_time(visit: Visit) -> None:
    playing = visit.page.evaluate("""async () => {
        const [one, other] = document.querySelectorAll("audio");
        one.loop = other.loop = true;
        await one.play();
        await other.play();
        await new Promise((done) => setTimeout(done, 50));
        return [one.paused, other.paused];
    }""")
    assert playing == [True, False]


def column(page: "Page", section: str, number: int) -> list[str]:
    return page.locator(f"{section} table tbody tr > :nth-child({number})").all_inner_texts()


def test_tables_sort_by_click_and_by_keyboard(visit: Visit) -> None:
    page = visit.page
    header = page.locator("#leaderboard thead th").nth(2)
    before = column(page, "#leaderboard", 3)
    assert before[-1] == "–"  # the run without a score
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert column(page, "#leaderboard", 3) == before
    header.locator("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(page, "#leaderboard", 3) == [*reversed(before[:-1]), "–"]
    name = page.locator("#leaderboard thead th").nth(1)
    name.locator("button").press("Space")
    assert name.get_attribute("aria-sort") == "ascending"
    assert header.get_attribute("aria-sort") is None
    names = column(page, "#leaderboard", 2)
    assert names == sorted(names)


def test_a_cell_of_the_confusion_matrix_is_read_out(visit: Visit) -> None:
    figure = visit.page.locator("#evaluation-1 figure.readable")
    figure.locator("rect.hit").first.hover()
    assert "dog, predicted correctly: " in figure.locator("output").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: "Browser", report: Path, scheme: str) -> None:
    visit = Visit(browser, report, size=PHONE, scheme=scheme)
    assert visit.overflow() == 0
    assert visit.page.locator("h1").is_visible()
    boxes = visit.page.evaluate(
        "[...document.querySelectorAll('section, figure, main li, audio')].map((e) => e.getBoundingClientRect().right)"
    )
    assert max(boxes) <= PHONE["width"]
    visit.context.close()


COLOURS = """() => [...document.querySelectorAll("h1, h2, h3, p, th, td, dt, dd, a, figcaption, small, footer, .mark")]
    .filter((e) => e.textContent.trim()).map((e) => {
        let behind = e;
        while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
        return [getComputedStyle(e).color, getComputedStyle(behind).backgroundColor, e.outerHTML.slice(0, 80)];
    })"""


def luminance(colour: str) -> float:
    """Return WCAG's relative luminance of `rgb(r, g, b)`."""
    channels = np.array([float(c) for c in colour.removeprefix("rgb(").removesuffix(")").split(",")]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(browser: "Browser", report: Path, scheme: str) -> None:
    visit = Visit(browser, report, scheme=scheme)
    body = luminance(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert body < 0.05 if scheme == "dark" else body > 0.8
    colours = visit.page.evaluate(COLOURS)
    assert len(colours) > 50
    for words, behind, what in colours:
        dark, bright = sorted((luminance(words), luminance(behind)))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (what, words, behind)
    visit.context.close()


def test_names_that_are_markup_stay_text(browser: "Browser", hostile: Any) -> None:
    path = write_report(hostile.workspace)
    for size in (DESKTOP, PHONE):
        visit = Visit(browser, path, size=size)
        page = visit.page
        for button in page.locator("th button").all():
            button.click()
        for cell in page.locator("rect.hit, rect.miss").all()[:40]:
            cell.dispatch_event("pointerover")
        page.evaluate("document.querySelectorAll('audio')[0].play()")
        page.wait_for_timeout(100)
        assert visit.dialogs == []
        assert visit.errors == []
        assert page.title() == "<i>work & co – akit report"
        assert page.locator("script").count() == 1
        assert page.locator("img:not(.spectrogram), svg[onload], i, b, iframe").count() == 0
        assert page.locator("[onerror], [onmouseover], [onload]").count() == 0
        shown = page.locator("#evaluation-1").inner_text()
        assert "<script>document.title = 'owned'; alert(1)</script>" in shown
        assert '"><img src=x onerror=alert(2)>' in shown
        assert [url for url in visit.requests if not url.startswith("data:")] == [path.as_uri()]
        assert visit.overflow() == 0
        visit.context.close()


def test_tables_fit_a_desktop_window(visit: Visit) -> None:
    hidden = visit.page.evaluate(
        "[...document.querySelectorAll('.scroll:has(table)')].map((b) => [b.scrollWidth - b.clientWidth, b.innerText])"
    )
    assert [text for width, text in hidden if width] == []
