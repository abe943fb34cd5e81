"""The lesson as a student meets it: a real browser, a real JupyterLab, a real kernel; and the page to take home.

Screenshots go to build/screens/, for a person to look at.
"""

import json
import os
import re
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
import torch
from test_executor import case, drawn, every_value, own_networks

import lab
from lab import data
from lab.graph import capture
from lab.layers import layer_table
from lab.models import LabNet
from lab.operations import KINDS
from lab.receptive import receptive_fields
from lab.train import Recipe, fit
from lab.widgets.page import STATIC, as_part

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
    assert not [problem for problem in problems if "/static/" not in problem]  # that is where JupyterLab keeps its own
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
    canvas.scroll_into_view_if_needed()
    area = canvas.bounding_box()
    page.mouse.move(area["x"] + across * area["width"], area["y"] + down * area["height"], steps=3)


def sees(layer, row, column):
    """What the widget says of a unit of LabNet, worked out here."""
    rows, columns = receptive_fields(capture(LabNet()))[layer].box(row, column)
    extent = f"rows {rows.low} to {rows.high}, columns {columns.low} to {columns.high}."
    return re.compile(
        rf"^Unit {row}, {column} is −?\d+\.\d+\. It sees {rows.size}x{columns.size} pixels: {re.escape(extent)}$"
    )


TITLES = [layer.heading for layer in layer_table(capture(LabNet()))]


def screenshot(page, locator, name):
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.mouse.move(2, 2)
    locator.screenshot(path=SCREENS / f"{name}.png")


# -- the lesson -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def executed(browser, server, folder):
    """The lesson, done in JupyterLab and saved; the kernel is gone at the end. Gives the notebook's path."""
    with opened(browser, f"{server}/lab/tree/lesson.ipynb") as page:
        exercise(page)
        explorer(page)
        sketchpad(page)
        stop_kernels(server, restart=True)
        page.wait_for_timeout(3000)
        goes_on(output(page, 2), output(page, 3), page)
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
    expect(name).to_have_text(TITLES[3])
    layer.focus()
    page.keyboard.press("ArrowRight")
    expect(name).to_have_text(TITLES[4])
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
    expect(name).to_have_text(TITLES[20])
    expect(readout).to_have_text(sees(20, 0, 0))
    widget.locator(".lab-strip > div").nth(8).hover()
    expect(name).to_have_text(TITLES[8])
    expect(widget.locator(".lab-account")).to_contain_text(re.compile(r"The maximum of these 4: −?\d+\.\d+\."))
    widget.locator(".lab-strip > div").nth(4).hover()
    parts = widget.locator(".lab-account .lab-part[role=img]")
    expect(parts).to_have_count(6)
    widget.get_by_role("button", name=re.compile("show the other 10 channels")).click()
    expect(parts).to_have_count(16)
    expect(widget.locator(".lab-evidence figure")).to_have_count(10)
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
    expect(widget.get_by_text(f"what the middle unit of {TITLES[20]} sees, 28x28 pixels")).to_be_visible()
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


def goes_on(explored, drawn, page):
    """Both pages answer, whether a kernel is there or not."""
    widget = explored.locator(".lab-explore")
    widget.locator(".lab-strip > div").nth(8).hover()
    expect(widget.locator(".lab-readout")).to_have_text(sees(8, 3, 3))
    widget.locator(".lab-strip > div").nth(4).hover()
    expect(widget.locator(".lab-readout")).to_have_text(sees(4, 7, 7))
    expect(explored.locator(".lab-still").first).to_be_hidden()
    pad = drawn.locator(".lab-draw")
    pad.get_by_role("button", name="clear").click()
    expect(pad.locator(".lab-readout")).to_have_text("The canvas is empty: draw a digit.")
    draw_seven(page, pad.locator(".lab-sheet"))
    expect(pad.locator(".lab-readout")).to_have_text(re.compile("^The network's answer"))


def stop_kernels(server, restart=False):
    with urllib.request.urlopen(f"{server}/api/sessions?token={TOKEN}") as answer:
        sessions = json.load(answer)
    assert sessions
    for session in sessions:
        if restart:
            path, method = f"{server}/api/kernels/{session['kernel']['id']}/restart?token={TOKEN}", "POST"
        else:
            path, method = f"{server}/api/sessions/{session['id']}?token={TOKEN}", "DELETE"
        urllib.request.urlopen(urllib.request.Request(path, method=method)).close()


def test_the_lesson_leaves_neither_an_error_nor_a_warning(executed):
    outputs = [o for cell in nbformat.read(executed, as_version=4).cells for o in cell.outputs]
    assert "PASS out_size" in str(outputs)
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


def test_saved_notebook_in_jupyterlab_whose_kernel_is_gone(browser, server, executed):
    with opened(browser, f"{server}/lab/tree/lesson.ipynb") as page:
        goes_on(output(page, 2), output(page, 3), page)
        screenshot(page, page.locator(".jp-Notebook"), "saved-without-kernel")
    stop_kernels(server)


def test_saved_notebook_from_somebody_else(browser, server, executed):
    """JupyterLab does not trust it: no script, no style, a picture that says so."""
    notebook = nbformat.read(executed, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("'another notebook'"))
    nbformat.write(notebook, executed.with_name("foreign.ipynb"))
    with opened(browser, f"{server}/lab/tree/foreign.ipynb") as page:
        pictures = page.locator(".lab-still img")
        expect(pictures).to_have_count(2, timeout=PATIENCE)
        for picture in pictures.all():
            picture.scroll_into_view_if_needed()
            expect(picture).to_be_visible()
            assert picture.evaluate("image => image.complete && image.naturalWidth") > 300
            assert len(picture.get_attribute("alt")) > 40
        assert page.locator(".lab-widget").count() == 0
        expect(page.get_by_text("This is a picture. To bring it to life").first).to_be_visible()
        screenshot(page, page.locator(".jp-Notebook"), "untrusted")
    stop_kernels(server)


def test_page_made_of_the_saved_notebook(browser, executed, tmp_path):
    from nbconvert import HTMLExporter

    text, _ = HTMLExporter(embed_images=True).from_filename(str(executed))
    (tmp_path / "lesson.html").write_text(text, encoding="utf-8")
    context = browser.new_context(viewport={"width": 1000, "height": 1500}, offline=True)
    page = context.new_page()
    page.goto((tmp_path / "lesson.html").as_uri(), wait_until="commit")
    goes_on(page, page, page)
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


# -- without a notebook -----------------------------------------------------------------------------------------------


def test_the_executor_gives_in_the_browser_what_pytorch_gives(browser):
    """Every kind of operation and the lab's networks; and how long one image takes."""
    graphs = {f"{kind.__name__}, seed {seed}": drawn(seed, kind) for kind in KINDS for seed in range(100, 104)}
    graphs |= {name: capture(network) for name, network in own_networks().items()}
    torch.manual_seed(0)
    images = {name: torch.randn(1, *graph.input_shape) for name, graph in graphs.items()}
    source = as_part((STATIC / "network.js").read_text(encoding="utf-8"))
    script = f"""(tasks) => {{ {source}
        return tasks.map(({{ graph, weights, image }}) => {{
            const network = new Network(graph, weights);
            const before = performance.now();
            for (let i = 0; i < 9; i++) network.run(image);
            const milliseconds = (performance.now() - before) / 9;
            return {{ milliseconds, output: [...network.output(network.run(image))] }};
        }});
    }}"""
    page = browser.new_page()
    answered = page.evaluate(script, [case(graph, images[name]) for name, graph in graphs.items()])
    page.close()
    for (name, graph), answer in zip(graphs.items(), answered, strict=True):
        wanted = every_value(graph, images[name])[graph.operations[-1].name].flatten()
        size = max(float(wanted.abs().max()), 0.01)
        assert float((torch.tensor(answer["output"]) - wanted).abs().max()) <= 1e-4 * size, name
        if name == "LabNet":
            print(f"LabNet, one image in Chromium: {answer['milliseconds']:.1f} ms")
            assert answer["milliseconds"] < 15


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A network that was trained for a moment, taken home."""
    torch.manual_seed(0)
    network = LabNet()
    recipe = Recipe(epochs=2, averaging=0, augment=None, precision="float32")
    fit(network, data.load("mnist").limit(6000), recipe, progress=False)
    return lab.take_home(network, tmp_path_factory.mktemp("home") / "my_network.html").page


def by_finger(page, sheet, points):
    """A stroke on a touch screen."""
    area = sheet.bounding_box()
    session = page.context.new_cdp_session(page)
    for number, (across, down) in enumerate(points):
        touch = {"x": area["x"] + across * area["width"], "y": area["y"] + down * area["height"]}
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [touch]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1200, "light"), (1200, "dark")])
def test_the_page_to_take_home_answers_a_finger(browser, taken, width, scheme):
    """On a phone and on a tablet, offline: draw a seven, read the answer, look inside. Nothing leaves the page."""
    assert taken.stat().st_size < 500_000
    size = {"width": width, "height": 800}
    context = browser.new_context(viewport=size, has_touch=True, offline=True, color_scheme=scheme)
    page, asked, problems = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))  # what the policy forbids is told there
    page.goto(taken.as_uri())
    readout = page.locator(".lab-draw .lab-readout")
    expect(readout).to_have_text("The canvas is empty: draw a digit.")
    expect(page.get_by_text("This page needs JavaScript.")).to_be_hidden()
    digit = page.locator(".lab-explore .lab-digit")
    before = pixels(digit)
    stroke = [(0.3, 0.2), (0.5, 0.2), (0.7, 0.2), (0.6, 0.4), (0.5, 0.6), (0.45, 0.85)]
    by_finger(page, page.locator(".lab-sheet"), stroke)
    expect(readout).to_have_text(re.compile(r"^The network's answer: 7, \d+% sure\.$"))
    until_changed(page, digit, before)  # what was drawn is what the layers show
    page.locator(".lab-strip > div").nth(4).tap()
    expect(page.locator(".lab-name")).to_have_text(TITLES[4])
    page.locator(".lab-map").tap(position={"x": 4, "y": 4})
    expect(page.locator(".lab-explore .lab-readout")).to_have_text(sees(4, 0, 0))
    expect(page.locator(".lab-evidence .lab-best")).to_have_attribute("title", re.compile("^class 7: "))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert is_light(page.evaluate("getComputedStyle(document.body).color")) is (scheme == "dark")
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"home-{scheme}-{width}.png", full_page=True)
    assert [url for url in asked if not url.startswith("data:")] == [taken.as_uri()]
    assert problems == []
    context.close()


def test_two_pages_in_one_do_not_mix(browser, tmp_path):
    """Two explorers of different networks and two sketchpads of one: each answers for itself."""
    small = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    shown = [lab.explore(LabNet()), lab.explore(small), lab.draw(small), lab.draw(small)]
    body = "".join(page.bundle()["text/html"] for page in shown)
    (tmp_path / "all.html").write_text(f"<!doctype html><meta charset=utf-8><body>{body}", encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "all.html").as_uri())
    expect(page.locator(".lab-widget")).to_have_count(4)
    first, second = page.locator(".lab-explore").all()
    first.get_by_role("button", name="next layer").click()
    expect(first.locator(".lab-name")).to_have_text(TITLES[1])
    expect(second.locator(".lab-facts")).to_contain_text("1 of 2")
    one, other = page.locator(".lab-draw").all()
    draw_seven(page, one.locator(".lab-sheet"))
    expect(one.locator(".lab-readout")).to_have_text(re.compile("^The network's answer"))
    expect(other.locator(".lab-readout")).to_have_text("The canvas is empty: draw a digit.")
    page.close()


def test_a_network_that_the_page_can_not_run_keeps_its_picture(browser, tmp_path):
    shown = lab.draw(LabNet())
    shown.data["graph"]["operations"][0]["kind"] = "blur"
    (tmp_path / "blur.html").write_text(f"<meta charset=utf-8>{shown.bundle()['text/html']}", encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "blur.html").as_uri())
    expect(page.get_by_text("The network can't be run in this page: 0: the kind blur is unknown")).to_be_visible()
    expect(page.locator(".lab-still img")).to_be_visible()
    page.close()
