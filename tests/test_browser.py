"""The lesson as a student meets it: a real browser, a real JupyterLab, a real kernel.

Screenshots go to build/screens/, for a person to look at.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from lab.graph import capture
from lab.models import LabNet
from lab.receptive import receptive_fields

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

ROOT = Path(__file__).parent.parent
SCREENS = ROOT / "build" / "screens"
TOKEN = "lesson"
WRONG = "def out_size(n, kernel, stride=1, pad=0):\n    return n - kernel"
RIGHT = "def out_size(n, kernel, stride=1, pad=0):\n    return (n + 2 * pad - kernel) // stride + 1"
CELLS = [
    WRONG,
    "from lab import checks\nchecks.out_size(out_size)",
    "import lab, torch\nfrom lab import models\ntorch.manual_seed(0)\nlab.explore(models.LabNet())",
    "lab.draw(models.LabNet())",
]
PATIENCE = 60_000  # ms; a kernel that imports torch on a busy machine


# -- a server, a browser, a notebook ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """Chromium: the system's, else playwright's own."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with playwright.sync_playwright() as p:
        try:
            started = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            if "Executable doesn't exist" not in str(error):
                raise
            pytest.skip("no Chromium is installed (playwright install chromium)")
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder that the server shows, with the lesson in it."""
    place = tmp_path_factory.mktemp("lesson")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, place / "lesson.ipynb")
    return place


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    """The address of a JupyterLab that knows nothing of the machine's settings; shut down at the end."""
    private = tmp_path_factory.mktemp("jupyter")
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")
    environment = os.environ | {
        **{f"JUPYTER{'' if name.startswith('LAB') else '_'}{name}": str(private / name) for name in folders},
        "IPYTHONDIR": str(private / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "LAB_PROGRESS": "1",
    }
    settings = private / "LAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')  # nor does it ask the internet
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    options = ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"]
    with (private / "log").open("w") as log:
        process = subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, process, private / "log")
            yield address
        finally:
            process.terminate()  # it ends its kernels first
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(address, process, log):
    for _ in range(240):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"JupyterLab does not answer:\n{log.read_text()[-3000:]}")


@contextmanager
def opened(browser, address, width=1000):
    """A page with the notebook in it."""
    context = browser.new_context(viewport={"width": width, "height": 1500})
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(f"{error} {error.stack}"))
    page.goto(f"{address}?token={TOKEN}&reset")  # reset: without the tabs that another test left open
    page.wait_for_selector(".jp-Notebook-cell", timeout=PATIENCE)
    # Before that, JupyterLab drops what it is told to run.
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", state="attached", timeout=PATIENCE)
    yield page
    assert not [problem for problem in problems if "blob:" in problem]  # that is where anywidget keeps our scripts
    context.close()


def run_all(page):
    menu(page, "Run", "Run All Cells")


def menu(page, first, *rest):
    """Choose from the menu bar. An item is clicked once it is lit: a click before that is lost."""
    page.get_by_role("menuitem", name=first, exact=True).click()
    for name in rest:
        item = page.get_by_role("menuitem", name=re.compile(f"^{name}"))
        item.hover()
        page.wait_for_timeout(300)
        if name == rest[-1]:
            item.click()


def output(page, number):
    return page.locator(".jp-Notebook-cell").nth(number).locator(".jp-Cell-outputArea")


def pixels(canvas):
    """What a canvas shows, as text."""
    return canvas.evaluate("canvas => canvas.toDataURL()")


def until_changed(page, canvas, before):
    deadline = time.time() + 20
    while time.time() < deadline:
        if (now := pixels(canvas)) != before:
            return now
        page.wait_for_timeout(50)
    raise AssertionError("the canvas still shows what it showed before")


def until_same(page, canvas, wanted):
    deadline = time.time() + 20
    while pixels(canvas) != wanted:
        assert time.time() < deadline, "the canvas does not show again what it showed before"
        page.wait_for_timeout(50)


def point(page, canvas, across, down):
    """Move the mouse over a canvas, to 0..1 across and down."""
    area = canvas.bounding_box()
    page.mouse.move(area["x"] + across * area["width"], area["y"] + down * area["height"], steps=3)


def sees(layer, row, column):
    """What the widget says of a unit of LabNet, worked out here."""
    rows, columns = receptive_fields(capture(LabNet()))[layer].box(row, column)
    extent = f"rows {rows.low} to {rows.high}, columns {columns.low} to {columns.high}."
    return f"Unit {row}, {column} sees {rows.size}x{columns.size} pixels: {extent}"


def screenshot(page, locator, name):
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.mouse.move(2, 2)
    locator.screenshot(path=SCREENS / f"{name}.png")


# -- the lesson -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def executed(browser, server, folder):
    """The lesson, done in JupyterLab and saved; the kernel is gone afterwards. Gives the notebook's path."""
    with opened(browser, f"{server}/lab/tree/lesson.ipynb") as page:
        exercise(page)
        explorer(page)
        sketchpad(page)
        page.keyboard.press("Control+s")
        page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')", timeout=PATIENCE)
    stop_kernels(server)
    return folder / "lesson.ipynb"


def exercise(page):
    """It fails, red and in one line; is put right in the browser; passes."""
    run_all(page)
    failure = output(page, 1).locator("[data-mime-type='application/vnd.jupyter.stderr']")
    expect(failure).to_contain_text("CheckFailed: out_size(n=28, kernel=3) gave 25, expected 26", timeout=PATIENCE)
    assert "Traceback" not in failure.inner_text()
    red, green, blue = map(int, re.findall(r"\d+", failure.evaluate("e => getComputedStyle(e).backgroundColor"))[:3])
    assert red > green
    assert red > blue
    screenshot(page, page.locator(".jp-Notebook"), "exercise-fails")
    page.locator(".jp-Notebook-cell").nth(0).locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(RIGHT)
    run_all(page)
    expect(output(page, 1)).to_have_text("PASS out_size: right in 5 cases, and in 100 random ones.", timeout=PATIENCE)


def explorer(page):
    """By mouse and by keyboard: another layer, another unit, the digit moved, the next digit."""
    widget = output(page, 2).locator(".lab-explore")
    readout, name = widget.locator(".lab-readout"), widget.locator(".lab-name")
    digit, plane = widget.locator(".lab-digit"), widget.locator(".lab-map")
    expect(readout).to_have_text(sees(0, 14, 14), timeout=PATIENCE)
    expect(output(page, 2).locator(".lab-still img")).to_be_hidden()

    layer = widget.get_by_role("slider", name="layer")
    for _ in range(3):
        widget.get_by_role("button", name="next layer").click()
    expect(name).to_have_text("3 (relu)")
    layer.focus()
    page.keyboard.press("ArrowRight")
    expect(name).to_have_text("4 (conv 3x3)")
    expect(readout).to_have_text(sees(4, 7, 7))
    assert page.evaluate("document.activeElement.type") == "range"  # JupyterLab did not take the key

    point(page, plane, 0.01, 0.01)
    expect(readout).to_have_text(sees(4, 0, 0))
    plane.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(readout).to_have_text(sees(4, 1, 1))

    first, first_map = pixels(digit), pixels(plane)
    point(page, digit, 0.5, 0.5)
    page.mouse.down()
    point(page, digit, 0.5 + 4.2 / 28, 0.5)
    page.mouse.up()
    until_changed(page, plane, first_map)
    until_changed(page, digit, first)
    expect(readout).to_have_text(sees(4, 1, 1))  # the digit moved, the box did not
    digit.focus()
    page.keyboard.press("Home")
    until_same(page, plane, first_map)
    page.keyboard.press("ArrowDown")
    moved = until_changed(page, plane, first_map)
    page.keyboard.press("ArrowUp")
    until_same(page, plane, first_map)
    assert moved != first_map

    widget.get_by_role("button", name="next digit").click()
    until_changed(page, digit, first)
    widget.get_by_role("button", name="previous digit").click()
    until_same(page, digit, first)
    before = pixels(plane)
    widget.locator(".lab-channels canvas").nth(5).click()
    until_changed(page, plane, before)
    widget.locator(".lab-strip > div").nth(20).hover()
    expect(name).to_have_text("20 (linear)")
    expect(readout).to_have_text(sees(20, 0, 0))
    widget.locator(".lab-strip > div").nth(8).hover()
    expect(name).to_have_text("8 (max_pool)")
    screenshot(page, widget, "explore-light-1000")


def sketchpad(page):
    """An empty canvas says so; strokes are answered; cleared, it says so again. The keyboard draws, too."""
    widget = output(page, 3).locator(".lab-draw")
    readout, sheet, bars = widget.locator(".lab-readout"), widget.locator(".lab-sheet"), widget.locator(".lab-bars")
    expect(readout).to_have_text("The canvas is empty: draw a digit.", timeout=PATIENCE)
    empty, blank = bars.inner_text(), pixels(widget.locator(".lab-view"))
    draw_seven(page, sheet)
    expect(readout).to_have_text(re.compile(r"^The network's answer: \d, \d+% sure\.$"))
    seven = until_changed(page, widget.locator(".lab-view"), blank)
    expect(bars.get_by_role("listitem")).to_have_count(10)
    assert bars.inner_text() != empty
    widget.get_by_role("slider", name="layer").focus()
    page.keyboard.press("End")
    expect(widget.get_by_text("what the middle unit of 20 (linear) sees, 28x28 pixels")).to_be_visible()
    until_changed(page, widget.locator(".lab-view"), seven)
    screenshot(page, widget, "draw-light-1000")
    widget.get_by_role("button", name="clear").click()
    expect(readout).to_have_text("The canvas is empty: draw a digit.")
    sheet.focus()
    for key in ("Space", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    expect(readout).to_have_text(re.compile("^The network's answer"))


def draw_seven(page, sheet):
    point(page, sheet, 0.3, 0.2)
    page.mouse.down()
    for across, down in ((0.7, 0.2), (0.5, 0.5), (0.4, 0.85)):
        point(page, sheet, across, down)
    page.mouse.up()


def choose_theme(server, name):
    path = f"{server}/lab/api/settings/@jupyterlab/apputils-extension:themes?token={TOKEN}"
    content = json.dumps({"raw": json.dumps({"theme": name})}).encode()
    urllib.request.urlopen(urllib.request.Request(path, content, method="PUT")).close()


def stop_kernels(server):
    with urllib.request.urlopen(f"{server}/api/sessions?token={TOKEN}") as answer:
        sessions = json.load(answer)
    assert sessions
    for session in sessions:
        path = f"{server}/api/sessions/{session['id']}?token={TOKEN}"
        urllib.request.urlopen(urllib.request.Request(path, method="DELETE")).close()


def test_the_lesson_leaves_neither_an_error_nor_a_warning(executed):
    outputs = [o for cell in nbformat.read(executed, as_version=4).cells for o in cell.outputs]
    assert "PASS out_size" in str(outputs)
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


def shows_pictures(page, widgets=2):
    """Every widget's place holds its picture, with a text, and no word of a widget that is missing."""
    pictures = page.locator(".lab-still img")
    expect(pictures).to_have_count(widgets, timeout=PATIENCE)
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.complete && image.naturalWidth") > 300
        assert len(picture.get_attribute("alt")) > 40
    page.wait_for_timeout(2000)  # JupyterLab looks for the widgets meanwhile
    for words in page.get_by_text(re.compile("Error displaying widget|Loading widget|model not found")).all():
        expect(words).to_be_hidden()


def test_saved_notebook_in_jupyterlab_whose_kernel_is_gone(browser, server, executed):
    with opened(browser, f"{server}/lab/tree/lesson.ipynb") as page:
        shows_pictures(page)
        screenshot(page, page.locator(".jp-Notebook"), "saved-without-kernel")
    stop_kernels(server)


def test_saved_notebook_from_somebody_else(browser, server, executed):
    """JupyterLab does not trust it: no widget, no style, only what is harmless."""
    notebook = nbformat.read(executed, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("'another notebook'"))
    nbformat.write(notebook, executed.with_name("foreign.ipynb"))
    with opened(browser, f"{server}/lab/tree/foreign.ipynb") as page:
        shows_pictures(page)
    stop_kernels(server)


def test_page_made_of_the_saved_notebook(browser, executed, tmp_path):
    from nbconvert import HTMLExporter

    text, _ = HTMLExporter(embed_images=True).from_filename(str(executed))
    (tmp_path / "lesson.html").write_text(text, encoding="utf-8")
    context = browser.new_context(viewport={"width": 1000, "height": 1500}, offline=True)
    page = context.new_page()
    page.goto((tmp_path / "lesson.html").as_uri(), wait_until="commit")
    shows_pictures(page)
    screenshot(page, page.locator("body"), "page")
    context.close()


@pytest.mark.parametrize(("app", "dark", "width"), [("lab/tree", True, 1000), ("notebooks", False, 400)])
def test_widgets_in_the_dark_and_on_a_phone(browser, server, executed, app, dark, width):
    """JupyterLab's dark theme; Notebook 7 on a narrow screen: nothing sticks out, and a finger works."""
    choose_theme(server, "JupyterLab Dark" if dark else "JupyterLab Light")
    with opened(browser, f"{server}/{app}/lesson.ipynb", width) as page:
        run_all(page)
        for number, kind in ((2, "explore"), (3, "draw")):
            widget = output(page, number).locator(f".lab-{kind}")
            widget.scroll_into_view_if_needed(timeout=PATIENCE)
            expect(widget).to_be_visible(timeout=PATIENCE)
            inner, outer = widget.bounding_box(), page.viewport_size
            assert inner["x"] >= 0
            assert inner["x"] + inner["width"] <= outer["width"]
            assert widget.evaluate("e => e.scrollWidth <= e.clientWidth")
            if kind == "explore":
                widget.locator(".lab-strip > div").nth(4).hover()
                expect(widget.locator(".lab-readout")).to_have_text(sees(4, 7, 7))
            else:
                draw_seven(page, widget.locator(".lab-sheet"))
                expect(widget.locator(".lab-readout")).to_have_text(re.compile("^The network's answer"))
            assert is_light(widget.evaluate("e => getComputedStyle(e).color")) is dark  # the text, against the theme
            screenshot(page, widget, f"{kind}-{'dark' if dark else 'light'}-{width}")
    stop_kernels(server)


def is_light(colour):
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) > 3 * 128
