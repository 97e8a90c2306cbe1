"""The page for a phone in a real browser, at a phone's size, with touch.

Needs Chromium (on the PATH, or named by ``CHROMIUM``) and the package ``playwright``. Screenshots go to the folder that
the environment variable ``SCREENSHOTS`` names, else to pytest's temporary folder.
"""
# ruff: noqa: F811 -- pytest's fixtures are arguments that are named like what is imported

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from test_netron_browser import ARGUMENTS, PROMPT, screenshots, sync_api  # noqa: F401
from test_phone import CLASSES, files, kept, log, serve  # noqa: F401

from helpers import photos
from helpers.drawings import draw
from helpers.netron_view import pictures
from helpers.phone import server

sync_api.expect.set_options(timeout=PROMPT)
pytestmark = pytest.mark.skipif(
    pictures.browser() is None,
    reason="no Chromium: sudo apt-get install chromium, or set CHROMIUM to the path of one",
)
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
WORDS = {"en-US": ("What does it see?", "None of these"), "zh-CN": ("它看到了什么？", "都不是")}


def jpeg(label, seed=0, size=(640, 480), **more):
    held, picture = io.BytesIO(), draw(label, np.random.default_rng(seed), size=640).crop((0, 80, 640, 560))
    picture.resize(size).save(held, "JPEG", quality=95, **more)
    return held.getvalue()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two drawings in turn, a second each, as a camera's uncompressed pictures (YUV4MPEG2)."""
    path = tmp_path_factory.mktemp("film") / "drawings.y4m"
    frames = []
    for label in (3, 8):
        picture = draw(label, np.random.default_rng(label), size=640).crop((0, 80, 640, 560)).convert("YCbCr")
        y, cb, cr = picture.split()
        small = [one.resize((320, 240)) for one in (cb, cr)]
        frames += [b"FRAME\n" + b"".join(np.asarray(one).tobytes() for one in (y, *small))] * 10
    path.write_bytes(b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420jpeg\n" + b"".join(frames))
    return path


@pytest.fixture(scope="module")
def chromium(film):
    more = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pictures.browser(), args=[*ARGUMENTS, *more])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Opens the page on a phone of its own; whatever it asks of others, or complains about, fails the test."""
    opened, outside, errors = [], [], []

    def new(address, **options):
        context = chromium.new_context(**(PHONE | {"locale": "en-US"} | options))
        context.set_default_timeout(PROMPT)
        page = context.new_page()
        opened.append(context)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if "Content Security" in message.text else None,
        )
        page.on("request", lambda request: outside.append(request.url) if not own(request.url) else None)

        def own(url):
            return url.startswith((address, "blob:", "data:"))

        page.goto(address)
        return page

    yield new
    for context in opened:
        context.close()
    assert (outside, errors) == ([], [])


def upload(page, body, place="take"):
    """A photo, by the input that a phone opens its camera for."""
    with page.expect_response(lambda answer: "/answer?" in answer.url) as answer:
        page.set_input_files(
            f"#{place}", {"name": "../../IMG_0001.jpg", "mimeType": "image/jpeg", "buffer": body}
        )
    page.wait_for_selector("#really:not([hidden])")
    return answer.value.json()


def label(page, name):
    with page.expect_response(lambda answer: "label=" in answer.url) as answer:
        page.get_by_role("button", name=name, exact=True).tap()
    page.wait_for_selector("#really", state="hidden")
    return answer.value.json()


def serious(page):
    """What axe-core finds serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="make tools")
    found = axe.Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


def test_a_photo_is_answered_labelled_and_counted(serve, files, visit, screenshots, tmp_path):
    page = visit(serve(files["camera network"], threshold=0.2).address)
    assert (
        page.get_attribute("#take", "capture") == "environment"
        and page.get_attribute("#take", "accept") == "image/*"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    body = jpeg(3)
    said = upload(page, body)
    image = photos.shrink(photos.open_photo(body))
    probs = photos.ask(files["camera network"], image[None], torch.tensor([0])).probs[0]
    assert said["roads"][0]["probs"] == probs.tolist()
    best = CLASSES[int(probs.argmax())]
    assert page.inner_text("#answer") == f"{best} · {round(100 * probs.max().item())} %"
    assert page.locator(".bar").count() == 4 and "ms" in page.inner_text("#time")
    assert "32×32" in page.inner_text("#all")
    square, shown = page.locator("#square").bounding_box(), page.locator("#photo").bounding_box()
    assert square["width"] == pytest.approx(square["height"]) == pytest.approx(shown["height"], abs=1)
    assert square["x"] - shown["x"] == pytest.approx((shown["width"] - shown["height"]) / 2, abs=1)
    page.screenshot(path=screenshots / "phone-photo.png", full_page=True)
    assert page.locator("#labels button").all_inner_texts() == list(CLASSES)
    label(page, best)
    assert page.locator("#roads").is_hidden()
    assert "1 photo, 1 right: 100 % (21 to 100 %)." in page.inner_text("#count")
    upload(page, body, "choose")
    label(page, "frog" if best != "frog" else "cat")
    assert "2 photos, 1 right: 50 % (9 to 91 %)." in page.inner_text("#count")
    assert "narrow that to ±5 points" in page.inner_text("#count")
    assert len(kept(tmp_path / "photos")) == 3 and all(
        name.endswith((".png", ".csv")) for name in kept(tmp_path / "photos")
    )
    page.screenshot(path=screenshots / "phone-counted.png", full_page=True)


def test_a_turned_photo_is_shown_as_it_was_seen_and_not_sure_below_the_threshold(serve, files, visit):
    exif = Image.Exif()
    exif[0x0112] = 6
    page = visit(serve(files["camera network"], threshold=1.0).address)
    upload(page, jpeg(3, exif=exif))
    assert page.inner_text("#answer").startswith("Not sure (")
    shown, square = page.locator("#photo").bounding_box(), page.locator("#square").bounding_box()
    assert shown["height"] > shown["width"] and square["width"] == pytest.approx(shown["width"], abs=1)


def test_crops_and_networks_side_by_side(serve, files, visit, screenshots):
    page = visit(serve({name: files[name] for name in ("camera network", "plain network")}).address)
    upload(page, jpeg(8))
    assert page.locator("#roads").is_hidden()
    page.locator("#crops").tap()
    sync_api.expect(page.locator("#roads tbody tr")).to_have_count(3)
    page.locator("#networks").tap()
    sync_api.expect(page.locator("#roads tbody tr")).to_have_count(6)
    assert "plain network, letterbox" in page.inner_text("#roads")
    page.screenshot(path=screenshots / "phone-roads.png", full_page=True)
    assert serious(page) == []


def test_none_of_these_skip_and_the_same_thing(serve, visit, tmp_path):
    page = visit(serve().address)
    upload(page, jpeg(1))
    page.locator("#skip").tap()
    page.wait_for_selector("#really", state="hidden")
    assert not (tmp_path / "photos").exists()
    upload(page, jpeg(1))
    label(page, "None of these")
    assert page.inner_text("#count") == "No photo labelled yet." and kept(tmp_path / "photos") == ["log.csv"]
    upload(page, jpeg(2))
    label(page, "bird")
    upload(page, jpeg(2, seed=1))
    page.locator("#same").tap()
    label(page, "bird")
    assert not page.locator("#same").is_checked()
    none, one, two = [row["thing"] for row in log(tmp_path / "photos")][::3]
    assert none != one == two


def test_two_phones_have_a_count_each(serve, visit):
    running = serve()
    one, two = visit(running.address), visit(running.address)
    for page in (one, two):
        upload(page, jpeg(4))
    for page in (two, one):
        label(page, "deer")
    assert [page.inner_text("#count")[:8] for page in (one, two)] == ["1 photo,"] * 2
    one.reload()
    upload(one, jpeg(4, seed=1))
    label(one, "deer")
    assert one.inner_text("#count").startswith("2 photos")  # the same phone still
    assert [share.count for share in running.counts().values()] == [3, 1, 2]


def test_the_live_camera_answers_and_a_picture_of_it_can_be_kept(serve, files, visit, screenshots, tmp_path):
    running = serve()
    page, seen = visit(running.address, permissions=["camera"]), set()
    assert page.evaluate("isSecureContext") and page.locator("#insecure").is_hidden()
    expected = {
        photos.ask(files["camera network"], photos.shrink(draw(k, np.random.default_rng(k), size=640).crop((0, 80, 640, 560)))[None],
                   torch.tensor([0])).predictions.item()
        for k in (3, 8)
    }  # fmt: skip
    page.locator("#live").tap()
    for _ in range(60):
        with page.expect_response(lambda answer: "/answer?" in answer.url) as answer:
            pass
        probs = answer.value.json()["roads"][0]["probs"]
        seen.add(probs.index(max(probs)))
        if seen == expected:
            break
    assert seen == expected
    assert page.locator("#video").is_visible() and page.locator("#really").is_hidden()
    page.screenshot(path=screenshots / "phone-live.png", full_page=True)
    page.locator("#freeze").tap()
    page.wait_for_selector("#really:not([hidden])")
    assert page.locator("#video").is_hidden() and page.locator("#photo").is_visible()
    label(page, "ship")
    assert [name for name in kept(tmp_path / "photos") if name.startswith("ship/")]
    page.locator("#live").tap()
    page.wait_for_selector("#video:visible")
    page.locator("#live").tap()
    assert page.locator("#video").is_hidden() and page.inner_text("#live") == "Live camera"


def test_without_a_secure_address_there_is_no_live_camera_and_a_reason(serve, visit, monkeypatch):
    page = visit(serve(lan="127.0.0.1").address)
    page.context.add_init_script("Object.defineProperty(window, 'isSecureContext', {value: false})")
    page.reload()
    assert page.locator("#live").is_hidden() and "secure address" in page.inner_text("#insecure")
    upload(page, jpeg(3))


@pytest.mark.parametrize("locale", WORDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_languages_light_and_dark_for_everybody(serve, visit, screenshots, locale, scheme):
    page = visit(serve().address, locale=locale, color_scheme=scheme)
    title, none = WORDS[locale]
    assert page.inner_text("h1") == title == page.title()
    assert page.get_attribute("html", "lang") == {"en-US": "en", "zh-CN": "zh-Hans"}[locale]
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == (scheme == "dark"), paper
    assert serious(page) == []
    upload(page, jpeg(8))
    assert page.inner_text("#none") == none and ("卡车" in page.inner_text("#labels")) == (locale == "zh-CN")
    assert serious(page) == []
    page.screenshot(path=screenshots / f"phone-{locale}-{scheme}.png", full_page=True)
    label(page, "猫" if locale == "zh-CN" else "cat")
    page.locator("#language").tap()
    assert page.inner_text("h1") == next(words[0] for words in WORDS.values() if words[0] != title)
    assert (
        "cat" in page.text_content("#labels") if locale == "zh-CN" else "猫" in page.text_content("#labels")
    )


def test_everything_has_a_name_and_can_be_reached_by_keyboard(serve, visit):
    page = visit(serve().address, has_touch=False, is_mobile=False, viewport={"width": 1000, "height": 800})
    names = ["Take a photo", "Choose a photo"]
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
            )
        )
    assert reached == ["中文", *names]
    upload(page, jpeg(6))
    snapshot = page.locator("body").aria_snapshot()
    for name in (*names, "None of these", "Skip", "frog"):
        assert f'button "{name}"' in snapshot
    assert 'img "The photo"' in snapshot and 'img "What the network sees, enlarged"' in snapshot
    page.locator("#language").focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "frog":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#count")).to_contain_text("1 photo,")
    assert page.evaluate("document.activeElement.id") == "take"


def test_what_goes_wrong_is_said_on_the_phone(serve, files, visit, monkeypatch):
    monkeypatch.setattr(server, "LARGEST", 1_000_000)
    running = serve(files["three"])
    page = visit(running.address)

    def said(body, words):
        page.set_input_files("#take", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": body})
        sync_api.expect(page.locator("#trouble")).to_contain_text(words)

    said(b"a text", "no picture")
    said(bytes(1_000_001), "more than 20 MB")
    upload(page, jpeg(2))
    assert page.inner_text("#trouble") == "" and page.locator("#labels button").all_inner_texts() == [
        "a/../b",
        "<i>猫</i>",
        "..c",
    ]
    running.stop()
    page.locator("#labels button").first.tap()
    sync_api.expect(page.locator("#trouble")).to_contain_text("no longer answers")
    assert page.locator("#really").is_visible()  # nothing is lost
