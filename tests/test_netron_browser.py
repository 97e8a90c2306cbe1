"""``helpers.netron_view`` in a real browser: that the graph is drawn, is Netron's, and keeps to itself.

Needs Chromium (on the PATH, or named by ``CHROMIUM``), a font with CJK signs for Netron's brackets, and the
package ``playwright``; without them these tests are skipped. Screenshots go to the folder that the environment
variable ``SCREENSHOTS`` names, else to pytest's temporary folder.
"""

import base64
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import nbformat.sign
import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from test_netron_view import FORMATS, HOSTILE, Net, hostile_model, model_files

from helpers import netron_view
from helpers.netron_view import models, pictures
from helpers.plumbing.paths import ROOT

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the package playwright is not installed: make setup"
)
pytestmark = pytest.mark.skipif(
    pictures.browser() is None,
    reason="no Chromium: sudo apt-get install chromium fonts-noto-cjk, or set CHROMIUM to the path of one",
)

ARGUMENTS = [
    "--no-sandbox", "--no-proxy-server", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PROMPT = 180_000
"""Milliseconds to wait before a test fails, on however busy a machine. Alone, a drawing takes one second."""


@pytest.fixture(scope="module")  # two of them cannot be open in one process
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pictures.browser(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory):
    folder = os.environ.get("SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


class Tab:
    """One browser tab that notes every request and everything a script would complain about."""

    def __init__(self, chromium, **options):
        self.context = chromium.new_context(viewport={"width": 900, "height": 720}, **options)
        self.context.set_default_timeout(PROMPT)
        self.page = self.context.new_page()
        self.requests, self.errors, self.dialogs = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def open(self, path: Path):
        self.page.goto(path.as_uri())
        return self

    def drawing(self, number: int = 1):
        """The frame of a drawing, once the graph is there."""
        frame = self.page.frames[number]
        frame.wait_for_selector("html[data-state]", timeout=PROMPT)
        return frame

    @property
    def outside(self) -> list[str]:
        """The requests that left the page."""
        return [url for url in self.requests if not url.startswith(("file:", "about:", "data:", "blob:"))]


@pytest.fixture
def tab(chromium):
    tabs = []

    def new(**options):
        tabs.append(Tab(chromium, **options))
        return tabs[-1]

    yield new
    for opened in tabs:
        opened.context.close()


@pytest.fixture
def quick(monkeypatch):
    """Without a picture, which takes two seconds and is not what most of these tests look at."""
    monkeypatch.setattr(
        pictures, "draw", lambda *_: (_ for _ in ()).throw(netron_view.PictureError("not now"))
    )
    monkeypatch.setattr(pictures, "kept", lambda key: None)


def wait(frame, condition: str) -> None:
    """Wait for a JavaScript condition. (Playwright's own wait_for_function needs an eval, which the page forbids.)"""
    end = time.monotonic() + PROMPT / 1000
    while time.monotonic() < end:
        if frame.evaluate(condition):
            return
        time.sleep(0.05)
    raise AssertionError(
        f"never true: {condition}; the sidebar says {frame.locator('#sidebar').inner_text()[:300]!r}"
    )


def state(frame) -> str:
    return frame.evaluate("document.documentElement.dataset.state")


def nodes(frame) -> int:
    return frame.locator(".graph-node").count()


def own_count(name: str) -> int:
    """How many nodes a drawing must have, counted in the file and not by helpers.netron_view."""
    path = model_files()[name]
    if name.endswith(".onnx"):
        graph = onnx.load(path, load_external_data=False).graph
        return sum(node.op_type != "Constant" for node in graph.node)
    if name == "state.pth":
        return len({key.rpartition(".")[0] for key in torch.load(path)})
    if name == "whole.pth":  # Netron also draws the dict in which a module keeps its modules
        net = Net()
        return len(list(net.modules())) + sum(bool(module._modules) for module in net.modules())
    if name == "program.pt2":
        with zipfile.ZipFile(path) as archive:
            (record,) = [record for record in archive.namelist() if record.endswith("models/model.json")]
            return len(json.loads(archive.read(record))["graph_module"]["graph"]["nodes"])
    import coremltools as ct

    spec = ct.utils.load_spec(str(path))
    if name == "network.mlmodel":  # and the scaling of the image, and the labels
        return len(spec.neuralNetworkClassifier.layers) + 2
    function = spec.mlProgram.functions["main"]
    return sum(op.type != "const" for op in function.block_specializations[function.opset].operations)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_drawn(name, tab, quick, screenshots, tmp_path):
    opened = tab().open(netron_view.save_html(model_files()[name], tmp_path / "graph.html"))
    frame = opened.drawing()
    opened.page.screenshot(path=screenshots / f"{name}.png")
    assert state(frame) == "drawn"
    assert nodes(frame) == own_count(name) > 10
    assert "〈64×3×5×5〉" in frame.locator("#canvas").text_content()
    assert opened.errors == [] and opened.dialogs == []
    assert opened.requests == [(tmp_path / "graph.html").as_uri()]
    # The drawing leaves the keyboard to the notebook around it.
    assert opened.page.evaluate("document.activeElement.tagName") == "BODY"


def test_a_click_opens_the_properties_of_a_node(tab, quick, screenshots, tmp_path):
    opened = tab().open(netron_view.save_html(model_files()["new.onnx"], tmp_path / "graph.html"))
    frame = opened.drawing()
    frame.locator(".node-item-type", has_text="Conv").first.click()
    sidebar = frame.locator("#sidebar")
    wait(frame, "document.getElementById('sidebar').getBoundingClientRect().left < innerWidth - 200")
    assert "kernel_shape" in sidebar.inner_html() and "5, 5" in sidebar.inner_text()
    opened.page.screenshot(path=screenshots / "sidebar.png")


@pytest.mark.parametrize(
    "name", ["new.onnx", "network.mlmodel", "program.mlpackage", "program.pt2", "state.pth"]
)
def test_the_weights_left_out_have_a_type_and_a_shape_and_no_numbers(name, tab, quick, screenshots, tmp_path):
    """Core ML keeps one value for the type's sake, PyTorch gets a hollow storage: neither may pass for weights."""
    opened = tab().open(netron_view.save_html(model_files()[name], tmp_path / "graph.html"))
    frame = opened.drawing()
    frame.locator(".node-argument", has_text="〈64×3×5×5〉").first.click()
    sidebar = frame.locator("#sidebar")
    sidebar.locator(".sidebar-item-value-button").first.click()
    wait(frame, "document.getElementById('sidebar').innerText.includes('Tensor data is empty.')")
    opened.page.screenshot(path=screenshots / f"weights-{name}.png")
    assert "64,3,5,5" in sidebar.inner_text()
    assert ("float16" if name == "program.mlpackage" else "float32") in sidebar.inner_text()
    assert opened.errors == []


def test_a_tensor_of_a_few_numbers_shows_them(tab, quick, tmp_path):
    opened = tab().open(netron_view.save_html(model_files()["new.onnx"], tmp_path / "graph.html"))
    frame = opened.drawing()
    frame.locator(".node-argument", has_text="〈1×3×1×1〉").first.click()
    frame.locator("#sidebar .sidebar-item-value-button").first.click()
    wait(frame, "document.getElementById('sidebar').innerText.includes('0.47999')")


def test_zoom_and_scroll(tab, quick, tmp_path):
    opened = tab().open(netron_view.save_html(model_files()["new.onnx"], tmp_path / "graph.html"))
    frame = opened.drawing()
    width = "document.getElementById('canvas').getBoundingClientRect().width"
    before = frame.evaluate(width)
    frame.locator("#zoom-out-button").click()
    assert frame.evaluate(width) < before
    top = frame.evaluate("document.getElementById('target').scrollTop")
    opened.page.mouse.move(400, 300)
    opened.page.mouse.wheel(0, 300)
    wait(frame, f"document.getElementById('target').scrollTop > {top} + 100")


def test_the_options_reach_netron(tab, quick, screenshots, tmp_path):
    path = model_files()["new.onnx"]
    page = netron_view.save_html(path, tmp_path / "graph.html", attributes=True, horizontal=True)
    opened = tab().open(page)
    frame = opened.drawing()
    opened.page.screenshot(path=screenshots / "attributes-horizontal.png")
    assert "kernel_shape = 5, 5" in frame.locator("#canvas").text_content()
    box = frame.locator("#canvas").bounding_box()
    assert box["width"] > 2 * box["height"]


def test_two_models_in_one_page(tab, quick, screenshots, tmp_path):
    shown = [("new.onnx", 330), ("state.pth", 330), ("new.onnx", 200)]
    views = [netron_view.show(model_files()[name], height=height) for name, height in shown]
    page = tmp_path / "two.html"
    page.write_text("<!DOCTYPE html><meta charset='utf-8'>" + "".join(view.html() for view in views), "utf-8")
    opened = tab().open(page)
    counts = []
    for number in (1, 2, 3):  # a drawing is made when it comes into sight
        opened.page.locator("iframe").nth(number - 1).scroll_into_view_if_needed()
        counts.append(nodes(opened.drawing(number)))
    assert counts == [20, 13, 20]
    opened.page.set_viewport_size({"width": 900, "height": 1100})
    opened.page.wait_for_timeout(300)  # what was out of sight is painted again
    opened.page.screenshot(path=screenshots / "two.png")
    heights = opened.page.evaluate(
        "[...document.querySelectorAll('iframe')].map((frame) => frame.offsetHeight)"
    )
    assert heights == [330, 330, 200]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_light_of_the_desktop(scheme, tab, quick, screenshots, tmp_path):
    opened = tab(color_scheme=scheme).open(
        netron_view.save_html(model_files()["new.onnx"], tmp_path / "graph.html")
    )
    frame = opened.drawing()
    head = "getComputedStyle(document.querySelector('.node-item-type-layer path')).fill"
    if scheme == "light":
        assert frame.evaluate(head) == "rgb(51, 85, 136)", "Netron's blue for a layer"
    shot = opened.page.screenshot(path=screenshots / f"{scheme}.png")
    pixels = np.asarray(Image.open(io.BytesIO(shot)).convert("L"))
    background = np.median(pixels)
    assert background > 240 if scheme == "light" else background < 100
    assert pixels.max() - pixels.min() > 120, "the graph stands out"


def test_markup_in_a_model_stays_text(tab, quick, screenshots, tmp_path):
    opened = tab().open(netron_view.save_html(hostile_model(tmp_path), tmp_path / "graph.html"))
    frame = opened.drawing()
    assert state(frame) == "drawn" and nodes(frame) == 2
    assert "<script>top.hacked=1</script>" in frame.locator("#canvas").text_content()

    def look(name, title):
        wait(frame, f"document.getElementById('sidebar').innerText.includes('{title}')")
        opened.page.wait_for_timeout(300)  # the sidebar slides in
        opened.page.screenshot(path=screenshots / f"hostile-{name}.png")

    frame.locator(".node-item-type").first.click()
    look("node", "NODE PROPERTIES")
    assert HOSTILE in frame.locator("#sidebar").inner_html().replace("&lt;", "<").replace("&gt;", ">")
    frame.locator("#sidebar-model-button").click()
    look("model", "MODEL PROPERTIES")
    # The documentation that a model brings along is the one place where Netron lets markup through.
    frame.locator(".node-item-type").nth(1).click()
    look("custom", "NODE PROPERTIES")
    frame.locator('[title="Show Definition"]').click()
    look("documentation", "DOCUMENTATION")
    documentation = frame.locator(".sidebar-documentation")
    assert 'http-equiv="refresh"' in documentation.inner_text()
    assert documentation.locator("script, img, meta, iframe").count() == 0
    time.sleep(0.5)  # what would run or navigate late
    assert state(frame) == "drawn"
    for checked in (opened.page.main_frame, frame):
        assert checked.evaluate("window.hacked") is None
    assert opened.dialogs == [] and opened.outside == []


def test_the_policy_of_the_page_stops_scripts_and_requests(tab, quick, tmp_path):
    """The second wall: markup that got into the page all the same."""
    opened = tab().open(netron_view.save_html(model_files()["old.onnx"], tmp_path / "graph.html"))
    frame = opened.drawing()
    sent = []
    opened.context.route("**/evil.invalid/**", lambda route: (sent.append(route.request.url), route.abort()))
    frame.evaluate("""document.body.insertAdjacentHTML("beforeend", `
        <img src="data:," onerror="window.hacked = 1"><img src="http://evil.invalid/x.png">
        <iframe src="http://evil.invalid/"></iframe><iframe srcdoc="<script>parent.hacked = 1</script>"></iframe>`)""")
    refused = frame.evaluate("fetch('http://evil.invalid/').then(() => 'sent', () => 'refused')")
    origin = frame.evaluate(
        "(() => { try { return parent.document.title } catch (error) { return error.name } })()"
    )
    opened.page.wait_for_timeout(500)
    assert frame.evaluate("window.hacked") is None
    assert refused == "refused" and sent == []
    assert origin == "SecurityError", "the page cannot reach the notebook around it"


def test_a_file_that_netron_cannot_draw_says_so(tab, quick, tmp_path, monkeypatch):
    """The weights are checked for in Python; what only Netron notices is written where the graph would be."""
    view = netron_view.show(model_files()["old.onnx"])
    view._model.files["old.onnx"] = b"not a model"
    page = tmp_path / "bad.html"
    page.write_text("<!DOCTYPE html>" + view.html(), "utf-8")
    frame = tab().open(page).drawing()
    assert state(frame) == "failed"
    assert "does not recognise" in frame.locator("#message-text").inner_text()


# --- Pictures


@pytest.fixture(scope="session")
def output():
    """The output of ``show`` as a notebook keeps it, with a picture drawn for it."""
    data, metadata = netron_view.show(model_files()["new.onnx"])._repr_mimebundle_()
    return {"data": data, "metadata": metadata}


def test_the_picture_is_small_and_shows_the_graph(output, screenshots):
    png = base64.b64decode(output["data"]["image/png"])
    (screenshots / "picture.png").write_bytes(png)
    image = Image.open(io.BytesIO(png))
    assert image.mode == "P" and len(png) < 60_000
    assert 500 < pictures.size(png)[0] <= 860 and pictures.size(png)[1] < 1000
    pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = (abs(pixels - [51, 85, 136]).sum(axis=2) < 12).mean()
    assert 0.01 < blue < 0.2, "Netron's blue heads of the convolutions"
    assert len(json.dumps(output["data"])) < 320_000, "everything that one cell adds to the notebook"


def test_a_picture_is_the_same_again(output):
    again = netron_view.picture(model_files()["new.onnx"])
    assert again == base64.b64decode(output["data"]["image/png"])


def test_a_kept_picture_is_found_again(monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    path = netron_view.save_picture(model_files()["old.onnx"])
    monkeypatch.setattr(pictures, "BROWSERS", ())
    monkeypatch.delenv("CHROMIUM", raising=False)
    data, _ = netron_view.show(model_files()["old.onnx"])._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == path.read_bytes()


def test_a_graph_that_cannot_be_drawn_gives_no_picture():
    model = models.read(model_files()["state.pth"])
    model.files["state.pth"] = b"not a model"
    with pytest.raises(
        netron_view.PictureError, match="Netron could not draw the graph: Netron does not recognise"
    ):
        pictures.draw(model)


def test_paper_and_no_javascript_show_the_picture(output, tab, screenshots, tmp_path):
    page = tmp_path / "output.html"
    page.write_text("<!DOCTYPE html><meta charset='utf-8'>" + output["data"]["text/html"], "utf-8")
    without = tab(java_script_enabled=False).open(page).page
    without.screenshot(path=screenshots / "no-javascript.png")
    assert without.locator("img").is_visible() and not without.locator("iframe").is_visible()

    printed = tab().open(page)
    printed.drawing()
    assert printed.page.locator("iframe").is_visible() and not printed.page.locator("img").is_visible()
    printed.page.emulate_media(media="print")
    printed.page.screenshot(path=screenshots / "print.png")
    assert printed.page.locator("img").is_visible() and not printed.page.locator("iframe").is_visible()


# --- Notebooks


def notebook(output) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell("netron_view.show('artifacts/alexnet.onnx')", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("execute_result", execution_count=1, **output)]
    made = nbformat.v4.new_notebook(cells=[cell])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def test_an_exported_notebook_needs_no_network(output, tab, screenshots, tmp_path):
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter().from_notebook_node(notebook(output))
    page = tmp_path / "exported.html"
    page.write_text(body, "utf-8")
    opened = tab()
    opened.context.set_offline(True)
    # nbconvert's own template asks for MathJax; only what the drawing asks for is counted.
    asked = []
    opened.page.on("request", lambda request: asked.append(request) if request.frame.parent_frame else None)
    opened.open(page)
    frame = opened.drawing()
    opened.page.screenshot(path=screenshots / "nbconvert.png")
    assert state(frame) == "drawn" and nodes(frame) == 20
    assert asked == []


def test_a_latex_or_pdf_export_finds_the_picture(output):
    from nbconvert import LatexExporter

    _, resources = LatexExporter().from_notebook_node(notebook(output))
    assert base64.b64decode(output["data"]["image/png"]) in resources["outputs"].values()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab at work, with its own settings, trust and folder."""
    home = tmp_path_factory.mktemp("lab")
    (home / "work").mkdir()
    (home / "config" / "labconfig").mkdir(parents=True)
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (home / "config" / "labconfig" / "page_config.json").write_text(json.dumps(quiet))
    folders = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    environment = {**os.environ, **folders, "HOME": str(home), "IPYTHONDIR": str(home / "ipython")}
    call = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--ip=127.0.0.1",
        "--IdentityProvider.token=t", f"--ServerApp.root_dir={home / 'work'}",
    ]  # fmt: skip
    log = (home / "log").open("w")
    process = subprocess.Popen(call, env=environment, stdout=log, stderr=log, cwd=home)
    try:
        for _ in range(PROMPT // 100):
            files = list((home / "runtime").glob("jpserver-*.json"))
            if files and files[0].stat().st_size:
                break
            assert process.poll() is None, (home / "log").read_text()
            time.sleep(0.1)
        url = json.loads(files[0].read_text())["url"]
        yield {"url": url, "work": home / "work", "data": home / "data"}
    finally:
        process.terminate()
        process.wait(PROMPT / 1000)
        log.close()


def open_in_lab(lab, opened, name):
    opened.page.set_viewport_size({"width": 1100, "height": 900})
    opened.page.goto(f"{lab['url']}doc/tree/{name}?token=t")
    opened.page.wait_for_selector(".jp-OutputArea-output", timeout=PROMPT)
    return opened.page.locator(".jp-OutputArea-output").first


def test_a_trusted_notebook_has_the_graph(lab, output, tab, screenshots):
    made = notebook(output)
    notary = nbformat.sign.NotebookNotary(data_dir=str(lab["data"]))
    notary.sign(made)
    notary.store.close()
    nbformat.write(made, lab["work"] / "trusted.ipynb")
    opened = tab()
    shown = open_in_lab(lab, opened, "trusted.ipynb")
    shown.locator("iframe").wait_for(timeout=PROMPT)
    frame = shown.locator("iframe").element_handle().content_frame()
    frame.wait_for_selector("html[data-state=drawn]", timeout=PROMPT)
    opened.page.screenshot(path=screenshots / "lab-trusted.png")
    assert nodes(frame) == 20
    assert not shown.locator("img").is_visible()
    assert not [url for url in opened.outside if not url.startswith((lab["url"], "ws"))]


def test_an_untrusted_notebook_has_the_picture(lab, output, tab, screenshots):
    nbformat.write(notebook(output), lab["work"] / "untrusted.ipynb")
    opened = tab()
    shown = open_in_lab(lab, opened, "untrusted.ipynb")
    shown.locator("img").wait_for(timeout=PROMPT)
    opened.page.screenshot(path=screenshots / "lab-untrusted.png")
    assert shown.locator("iframe").count() == 0
    assert shown.locator("img").is_visible()
    assert shown.locator("img").evaluate("image => image.naturalWidth") > 500
    assert shown.locator("img").get_attribute("alt").startswith("Graph of new.onnx")
    assert "still picture" in shown.inner_text()
    assert "display:" not in shown.inner_text(), "the style is gone, and is not shown as text"


# --- The notebooks that ship


SAVED = ("03_export_to_onnx", "04_convert_to_coreml")


def scroll_to_the_graph(opened):
    """Scroll down to the output with the graph: JupyterLab renders only what is near the window."""
    outputs = opened.page.locator(".jp-OutputArea-output").filter(
        has=opened.page.locator("iframe, img[alt^='Graph of']")
    )
    opened.page.mouse.move(550, 500)
    for _ in range(4):  # on a busy machine the window can pass the graph before it is rendered
        for _ in range(80):
            if outputs.count():
                outputs.first.scroll_into_view_if_needed()
                return outputs.first
            opened.page.mouse.wheel(0, 500)
            opened.page.wait_for_timeout(150)
        opened.page.mouse.wheel(0, -100_000)
        opened.page.wait_for_timeout(1000)
    raise AssertionError("no graph in the notebook")


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "untrusted"])
def test_the_saved_notebook_shows_its_graph_in_jupyterlab(lab, tab, screenshots, name, trusted):
    saved = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    if trusted:
        notary = nbformat.sign.NotebookNotary(data_dir=str(lab["data"]))
        notary.sign(saved)
        notary.store.close()
    else:
        saved.cells[0].source += "\nWith one line more it is another notebook, which nobody has signed."
    file = f"{name}-{'trusted' if trusted else 'untrusted'}.ipynb"
    nbformat.write(saved, lab["work"] / file)
    opened = tab()
    open_in_lab(lab, opened, file)
    shown = scroll_to_the_graph(opened)
    if trusted:
        frame = shown.locator("iframe").element_handle().content_frame()
        frame.wait_for_selector("html[data-state=drawn]", timeout=PROMPT)
        assert nodes(frame) >= 20
        assert not shown.locator("img").is_visible()
    else:
        assert shown.locator("iframe").count() == 0
        assert shown.locator("img").is_visible()
    opened.page.screenshot(path=screenshots / f"{file}.png")
    assert not [url for url in opened.outside if not url.startswith((lab["url"], "ws"))]


@pytest.mark.parametrize("name", SAVED)
def test_the_saved_notebook_shows_its_graph_as_a_page_without_network(tab, screenshots, tmp_path, name):
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(mathjax_url="", require_js_url="").from_filename(ROOT / f"notebooks/{name}.ipynb")
    (tmp_path / "page.html").write_text(body, "utf-8")
    opened = tab()
    opened.context.set_offline(True)
    opened.open(tmp_path / "page.html")
    opened.page.locator("iframe").first.scroll_into_view_if_needed()
    frame = opened.drawing()
    opened.page.screenshot(path=screenshots / f"{name}-page.png")
    assert state(frame) == "drawn" and nodes(frame) >= 20
    assert opened.outside == []
