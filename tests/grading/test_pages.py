"""The pages of a class: in files that no name can lead astray, and in a real browser with a hostile class."""

import os
import re
import time
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_up_class import HOSTILE, HOSTILE_TEXT, LIMITS, a_class, some_copies

from lab._files import FileError
from lab._terminal import legible
from lab.grading import charts, pages
from lab.grading.report import code_of, report_of
from lab.grading.standing import Class, Item, Standing, Student

# -- files ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.text())
@example("con")
@example("aux.x")
@example("../../etc/passwd")
@example("")
@example(".hidden")
@example("\ud800")
@example("ends.")
@example("x" * 300)
def test_any_id_makes_a_file_name_that_every_system_takes(student):
    name = pages.page_name(student)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._@+~-]*\.html", name)
    assert len(name) < 100
    assert name.partition(".")[0] not in ("con", "prn", "aux", "nul", "com1", "lpt9")
    assert not name.removesuffix(".html").endswith(".")


@settings(deadline=None)
@given(st.sets(st.text(max_size=5), min_size=2, max_size=20))
@example({"anna", "Anna", "ANNA", "ann\u0061\u0301", "anná", "anna.html", "anna~", "anna "})
@example({"K", "\u212a", "k"})  # the kelvin sign's small letter is k
def test_no_two_ids_share_a_file(students):
    assert len({pages.page_name(student).casefold() for student in students}) == len(students)


def test_a_name_with_a_digest_is_no_other_s_id():
    made = pages.page_name("Anna").removesuffix(".html")
    assert pages.page_name(made) != f"{made}.html"


def test_usual_ids_are_kept():
    for student in ("s1234567", "anna.arendt@uni.example", "12345", "a_b-c"):
        assert pages.page_name(student) == f"{student}.html"


STUDENTS = 36


@pytest.fixture(scope="module")
def found():
    return a_class(STUDENTS)


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    """A folder with the pages of a hostile class; in `anonymous`, without names."""
    folder = tmp_path_factory.mktemp("grades")
    pages.write_pages(found, folder, copies=some_copies(found))
    (folder / "anonymous").mkdir()
    pages.write_pages(found, folder / "anonymous", anonymous=True, copies=some_copies(found))
    return folder


def test_a_page_for_each_student_and_one_for_the_class(found, written):
    assert (written / "class.html").is_file()
    names = {path.name for path in (written / "feedback").iterdir()}
    assert names == {pages.page_name(standing.student.id) for standing in found.standings}
    links = re.findall(r'href="feedback/([^"]+)"', (written / "class.html").read_text(encoding="utf-8"))
    assert set(links) == names


def test_what_is_the_same_is_not_written_again(tmp_path):
    found = a_class(16)
    pages.write_pages(found, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.html")}
    pages.write_pages(a_class(16), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.html")} == before
    graded = next(one for one in found.standings if one.state == "graded")
    standings = [replace(one, late_by="late") if one is graded else one for one in found.standings]
    pages.write_pages(replace(found, standings=standings), tmp_path)
    changed = {path.name for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {"class.html", pages.page_name(graded.student.id)}


def test_who_left_the_class_has_no_page_and_other_files_stay(tmp_path):
    found = a_class(16)
    pages.write_pages(found, tmp_path)
    own = tmp_path / "feedback" / "notes.html"
    own.write_text("<p>The teacher's own.")
    pages.write_pages(replace(found, standings=found.standings[:-1]), tmp_path)
    names = {path.name for path in (tmp_path / "feedback").iterdir()}
    assert names == {"notes.html", *(pages.page_name(one.student.id) for one in found.standings[:-1])}


def test_a_page_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "feedback").write_text("a file")
    with pytest.raises(FileError, match="feedback cannot be made"):
        pages.write_pages(a_class(3), tmp_path)


def test_the_key_of_the_codes_is_kept_for_the_teacher_alone(found, tmp_path):
    few = replace(found, standings=found.standings[10:14])
    pages.write_pages(few, tmp_path, anonymous=True)
    first = (tmp_path / "class.html").read_bytes()
    pages.write_pages(few, tmp_path, anonymous=True)
    assert (tmp_path / "class.html").read_bytes() == first
    key = bytes.fromhex((tmp_path / pages.KEY).read_text())
    if os.name == "posix":
        assert (tmp_path / pages.KEY).stat().st_mode & 0o077 == 0
    student = few.standings[2].student.id
    code = code_of(student, key)
    assert code in first.decode()
    assert code in (tmp_path / "feedback" / pages.page_name(student)).read_text(encoding="utf-8")
    assert code_of(student, b"") not in first.decode()  # who has no key can't work it out
    (tmp_path / pages.KEY).write_text("broken")
    pages.write_pages(few, tmp_path, anonymous=True)
    assert code not in (tmp_path / "class.html").read_text(encoding="utf-8")


def test_three_hundred_students_take_a_few_seconds(written, tmp_path):
    """Of the processor's time, a tenth of a class as a measure for all; what is read once was read for `written`."""
    found = a_class(30, seed=1)
    began = time.process_time()
    pages.write_pages(found, tmp_path)
    assert 10 * (time.process_time() - began) < 20  # 5 s where it was measured


# -- what they are made of --------------------------------------------------------------------------------------------


def test_a_page_lets_in_its_own_style_and_scripts_alone(found, written):
    feedback = written / "feedback" / pages.page_name(found.standings[12].student.id)
    for page, scripts in ((written / "class.html", 2), (feedback, 0)):
        text = page.read_text(encoding="utf-8")
        policy = unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'"
        assert "unsafe" not in policy
        assert digests(re.findall(r"<style>(.*?)</style>", text, re.DOTALL)) == rules["style-src"].split()
        own = digests(re.findall(r"<script>(.*?)</script>", text, re.DOTALL))
        assert (own or ["'none'"]) == rules["script-src"].split()
        assert len(own) == scripts
        tags = "".join(re.findall(r"<[a-z][^>]*>", re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)))
        assert not re.search(r"\son\w+=|\sstyle=", re.sub(r'"[^"]*"', '""', tags))


def digests(texts):
    return [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts]


def test_ids_are_unique_and_what_is_referred_to_is_there(written):
    for page in [written / "class.html", *(written / "feedback").iterdir()]:
        text = page.read_text(encoding="utf-8")
        ids = re.findall(r'\sid="([^"]+)"', text)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:\bhref="#|url\(#|aria-labelledby=")([\w-]+)', text)) <= set(ids)


def test_every_colour_of_a_chart_is_the_page_s(found, written):
    style = (pages.TEMPLATES / "page.css").read_text(encoding="utf-8")
    text = (written / "class.html").read_text(encoding="utf-8")
    drawn = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawn) == 2
    for chart in drawn:
        assert "#" not in re.sub(
            r'(href="|url\()#', "", re.sub(r"&#?\w+;", "", re.sub(r"<title>.*?</title>", "", chart))
        )
        for name in re.findall(r"\b[fs]-\w+", " ".join(re.findall(r'class="([^"]*)"', chart))):
            assert f".{name} " in style
    known = {f"{kind}-{name}" for kind in "fs" for name in charts.CLASSES.values()}
    assert known <= {found[1:] for found in re.findall(r"\.[fs]-\w+", style)}


@pytest.mark.parametrize("limits", [LIMITS, {}, {"accuracy": 0.9}, {"parameter_count": 8000}])
def test_networks_of_any_size_are_drawn(limits):
    def network(number, accuracy, parameters):
        evidence = {"parameters": parameters, "dataset": "mnist"}
        grade = {"assignment": {"accuracies": [accuracy]}}
        items = (Item("rule", "epochs", "epochs", True, 1.0, 1.0, "", ""),)
        result = {"grade": grade, "evidence": evidence}
        return Standing(Student(f"s{number}"), "graded", items=items, result=result)

    sizes = [(0.0, 1), (0.1, 10**9), (1.0, 5000), (0.994, 20_000), (0.5, 19_999)]
    some = [network(number, *size) for number, size in enumerate(sizes)]
    for number in range(1, len(some) + 1):
        chart = charts.networks(report_of(Class("A class", some[:number], limits=limits)))
        assert chart.count("parameters</title>") == number
        assert chart.count("<title>The lab&apos;s") + chart.count("<title>The lab's") == 4


@pytest.mark.parametrize("epochs", [1, 2, 3, 19, 60])
def test_a_curve_has_a_mark_for_each_epoch(epochs):
    each = [{"epoch": n, "loss": 1 / n, "train_accuracy": 1 - 0.1 / n} for n in range(1, epochs + 1)]
    chart = charts.curve(each)
    line = re.findall(r'<path d="(M[^"]*)"[^>]*class="s-blue"', chart)
    assert line[0].count("L") == epochs - 1 if line else epochs == 1
    assert charts.curve(each) == chart


def test_an_empty_class_and_one_without_grades_have_pages(tmp_path):
    for standings in ((), (Standing(Student("a"), "missing"), Standing(Student("b"), "graded"))):
        pages.write_pages(Class("Nobody", standings), tmp_path)
        assert "Nothing" in (tmp_path / "class.html").read_text(encoding="utf-8")


# -- in a browser -----------------------------------------------------------------------------------------------------


class Opened:
    """A page in the browser, and whatever it did that it should not."""

    def __init__(self, browser, path, width=1280, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page, self.wrong = self.context.new_page(), []
        self.page.on("console", lambda message: self.wrong.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.wrong.append("a dialog"), dialog.dismiss()))
        self.page.on("request", self._asked)
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', event => console.log('policy: ' + event.violatedDirective))"
        )
        self.go(path)

    def go(self, path):
        """The next page, in the same window."""
        self.address = path.as_uri()
        self.page.goto(self.address)

    def check(self):
        self.page.wait_for_timeout(20)  # what it does late
        assert not self.wrong, self.address

    def _asked(self, request):
        if request.url != self.address and not request.url.startswith("data:"):
            self.wrong.append(f"asked for {request.url}")

    def __enter__(self):
        return self.page

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.check()
        finally:
            self.context.close()


def each(browser, paths, **options):
    """The pages, one after the other in one window, checked after each."""
    window = Opened(browser, paths[0], **options)
    with window as page:
        for path in paths:
            window.go(path)
            yield path, page
            window.check()


def of_each_kind(found, written):
    """The class's page, and a student's: one with a hostile name and a mark, one for each other state."""
    some = [next(one for one in found.standings if any(item.mark for item in one.items))]
    some += [next(one for one in found.standings if one.state == state) for state in
             ("student error", "grader error", "missing")]  # fmt: skip
    return [written / "class.html", *(written / "feedback" / pages.page_name(one.student.id) for one in some)]


def test_nothing_leaves_a_page_and_nothing_hostile_runs(browser, found, written):
    hostile = [pages.page_name(one.student.id) for one in found.standings if one.student.name in HOSTILE]
    everywhere = [*of_each_kind(found, written), written / "anonymous" / "class.html"]
    elsewhere = "[...document.links].filter(link => !/^(#|feedback\\/)/.test(link.getAttribute('href'))).length"
    for _, page in each(browser, everywhere + [written / "feedback" / name for name in hostile]):
        assert page.locator("img[src=x], b, script:not(body > script), base, iframe, [onerror]").count() == 0
        assert page.evaluate(elsewhere) == 0


def test_hostile_text_is_shown_as_text(browser, found, written):
    seen = HOSTILE_TEXT.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    with Opened(browser, written / "class.html") as page:
        shown = page.locator("#table tbody .name bdi").all_inner_texts()
        for name in HOSTILE:
            assert [
                one for one in shown if one[:40] == name.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")[:40]
            ]
        assert seen in page.locator("#loose").inner_text()
        assert "{{ 7 * 7 }}{% raw %}" in shown
    marked = next(one for one in found.standings if any(item.mark for item in one.items))
    with Opened(browser, written / "feedback" / pages.page_name(marked.student.id)) as page:
        assert seen in page.locator(".by-hand").first.inner_text()
        assert page.locator(".layers bdi", has_text=seen).count() == 1


def points_of(page):
    return page.locator("#table tbody tr:visible td:nth-child(3)").all_inner_texts()


def numbers(texts):
    return [float(text.split()[0]) for text in texts if text.strip() != "–"]


def until(page, holds):
    """Wait until it holds; wait_for_function would evaluate text in the page, which the page's policy forbids."""
    for _ in range(200):
        if holds():
            return
        page.wait_for_timeout(25)
    pytest.fail("it never holds")


def is_sorted(values, reverse=False):
    return values == sorted(values, reverse=reverse)


def test_students_are_sorted_by_mouse_and_by_keyboard(browser, written):
    with Opened(browser, written / "class.html") as page:
        head = page.get_by_role("columnheader", name="points", exact=False).first
        button = head.get_by_role("button")
        assert head.get_attribute("aria-sort") is None
        assert not is_sorted(numbers(points_of(page)), reverse=True)
        button.click()
        until(page, lambda: is_sorted(numbers(points_of(page)), reverse=True))
        assert head.get_attribute("aria-sort") == "descending"
        texts = points_of(page)
        assert [text.strip() for text in texts[len(numbers(texts)) :]] == ["–"] * (STUDENTS - len(numbers(texts)))
        button.focus()
        page.keyboard.press("Enter")
        until(page, lambda: is_sorted(numbers(points_of(page))))
        assert head.get_attribute("aria-sort") == "ascending"
        assert points_of(page)[-1].strip() == "–"  # who has no points yet stays last
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Space")
        states = page.locator("#table tbody td:nth-child(2)")
        until(page, lambda: is_sorted(states.all_inner_texts(), reverse=True))
        assert page.locator("th[aria-sort]").count() == 1


def test_students_are_filtered_by_mouse_and_by_keyboard(browser, found, written):
    with Opened(browser, written / "class.html") as page:
        shown = page.locator("#table tbody tr:visible")
        told = page.get_by_role("status")
        page.get_by_label("Find").click()
        page.keyboard.type("s1025")
        assert shown.count() == 1
        assert told.inner_text() == f"1 of {STUDENTS} shown"
        page.get_by_label("Find").fill("SCRIPT ALERT(1")
        assert shown.count() == 1
        page.get_by_label("Find").fill("")
        assert shown.count() == STUDENTS
        page.get_by_label("State").select_option("student error")
        wrong = sum(one.state == "student error" for one in found.standings)
        assert shown.count() == wrong > 0
        names = page.locator("#table tbody th:visible .name > a > bdi")
        page.get_by_role("button", name="student", exact=False).first.click()
        until(page, lambda: is_sorted([name.lower() for name in names.all_inner_texts()], reverse=True))
        assert shown.count() == wrong  # sorting brings nobody back
        page.get_by_label("State").focus()
        page.keyboard.press("Home")
        assert shown.count() == STUDENTS
        page.get_by_label("points of each item").focus()
        page.keyboard.press("Space")
        assert page.locator("#table .item:visible").count() == 0


def test_a_phone_scrolls_down_only(browser, found, written):
    for path, page in each(browser, of_each_kind(found, written), width=400):
        for width in (400, 320):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name


def test_the_table_moves_in_its_own_box_by_keyboard_too(browser, written):
    with Opened(browser, written / "class.html", width=400) as page:
        box = page.locator(".scroll")
        assert box.evaluate("box => box.scrollWidth > box.clientWidth")
        box.focus()
        page.keyboard.press("ArrowRight")
        until(page, lambda: box.evaluate("box => box.scrollLeft") > 0)


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const known = {};
  function rgba(colour) {
    return known[colour] ??= read(colour);
  }
  function read(colour) {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  }
  function light(colour) {
    const [r, g, b] = colour.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function behind(element) {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    throw new Error("no background");
  }
  const low = {};
  let number = 0;
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || element.closest("script, title, option, .unseen, .skip") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const colour = rgba(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(colour), light(behind(element))].sort((a, b) => b - a);
    const ratio = (a + 0.05) / (b + 0.05);
    number += 1;
    if (ratio < 4.5) low[`${element.tagName}.${element.className.baseVal ?? element.className}`] = ratio;
  }
  return [number, low];
}"""


def test_every_text_stands_out_from_what_is_behind_it_light_and_dark(browser, found, written):
    for path, page in each(browser, of_each_kind(found, written)):
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        grounds = set()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            looked_at, low = page.evaluate(CONTRAST)
            assert looked_at > 4
            assert not low, (path.name, scheme)
        assert len(grounds) == 2


def test_paper_is_white_and_has_the_whole_table(browser, written):
    with Opened(browser, written / "class.html", scheme="dark") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate(CONTRAST)[1] == {}
        assert page.locator(".controls").is_hidden()
        assert page.locator(".scroll").evaluate("box => box.scrollHeight <= box.clientHeight")


def test_a_mark_of_a_chart_says_whose_it_is(browser, found, written):
    with Opened(browser, written / "class.html") as page:
        told = page.locator("svg.chart title").all_text_contents()
        network = [one for one in found.standings if one.state == "graded" and one.evidence]
        assert len([one for one in told if "parameters" in one]) == len(network) + 4  # the lab's records
        assert any(one.startswith("<script>alert(1)</script>: ") for one in told)
        assert page.get_by_role("img", name="accuracy against parameters").count() == 1


def test_an_anonymous_page_tells_nobody_s_name(found, written):
    text = unescape((written / "anonymous" / "class.html").read_text(encoding="utf-8"))
    for standing in found.standings:
        one, files = standing.student, standing.delivery.files if standing.delivery else ()
        for telling in (one.id, one.name, one.email, pages.page_name(one.id), *files):
            assert not re.search(rf"(?<!\w){re.escape(telling)}(?!\w)", text, re.IGNORECASE)
    assert "feedback/" not in text


def test_a_grader_error_is_ours_on_every_page(browser, found, written):
    standing = next(one for one in found.standings if one.state == "grader error")
    with Opened(browser, written / "feedback" / pages.page_name(standing.student.id)) as page:
        assert "The trouble is ours, and you lose no points by it." in page.locator("main").inner_text()
        assert page.locator(".total, .points").count() == 0
    with Opened(browser, written / "class.html") as page:
        assert "not the students' fault" in page.locator(".notice.ours").inner_text()
        row = page.locator("#table tbody tr", has_text=standing.student.id)
        assert row.locator("td").nth(1).inner_text().strip() == "–"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        ("نام\u200cها", "نام\u200cها"),
        ("👩🏽\u200d💻", "👩🏽\u200d💻"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\x00b\x1b[2J\u2028c\ud800", "a\\x00b\\x1b[2J\\u2028c\\ud800"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
    ],
)
def test_what_is_not_seen_is_written_out(text, shown):
    assert legible(text) == shown
