"""The page in all conditions: keyboard only, phone, dark and light, camera, bad network, hostile names."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import onnx
import pytest
from playwright.sync_api import Browser, Page, expect

from lookonce.core.colours import PALETTE
from lookonce.core.model_card import CARD_KEY
from lookonce.export import export_onnx
from page_browser import CONTRAST, Proxy, Visit, chromium
from serving_process import Serving, fastest

PHONE = {"width": 375, "height": 812}
NAMES = {
    "dog": '<img src=x onerror="alert(1)">',
    "bicycle": '"><script>alert(2)</script>',
    "car": f"{'W' * 200}{{{{7*7}}}}",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def serving(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("page"), *fastest(shared), "--max-body", "4") as running:
        yield running


@pytest.fixture(scope="module")
def dog(shared: Path) -> Path:
    return shared / "images" / "dog.jpg"


def tab_to(page: Page, selector: str, most: int = 25) -> None:
    """Press Tab until an element has the focus; check that the focus is visible."""
    for _ in range(most):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """(selector) => {
              const at = document.activeElement;
              const visible = at.matches(":focus-visible");
              return at.matches(selector) && [getComputedStyle(at).outlineStyle, visible];
            }""",
            selector,
        )
        if found:
            assert found == ["solid", True], selector
            return
    pytest.fail(f"Tab does not reach {selector}")


def test_the_keyboard_alone_is_enough(browser: Browser, serving: Serving, dog: Path):
    with Visit(browser, serving.url) as visit:
        page = visit.open().ready().page
        # Listen early: until the listener is registered, the browser opens its own dialog.
        with page.expect_file_chooser() as chooser:
            tab_to(page, "#choose")
            page.keyboard.press("Enter")
        chooser.value.set_files([dog, dog])
        visit.finished(2)
        # The pressed button is hidden now: the focus moves to its replacement.
        expect(page.locator("#add")).to_be_focused()
        tab_to(page, ".thumbnail")
        page.keyboard.press("ArrowRight")
        expect(visit.thumbnails.nth(1)).to_be_focused()
        expect(visit.thumbnails.nth(1)).to_have_attribute("aria-current", "true")
        page.keyboard.press("Delete")
        expect(visit.thumbnails).to_have_count(1)
        tab_to(page, "#threshold")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#threshold-value")).to_have_text("0.31")
        tab_to(page, ".chip:nth-child(2)")
        page.keyboard.press("Space")
        expect(page.locator(".chip").nth(1)).to_have_attribute("aria-pressed", "false")
        expect(visit.rows).to_have_count(3)
        tab_to(page, "#rows tr")
        page.keyboard.press("End")
        expect(visit.rows.nth(2)).to_be_focused()
        page.keyboard.press("ArrowUp")
        expect(visit.rows.nth(1)).to_have_class("highlighted")
        tab_to(page, "#save-json")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == "dog.json"


def test_nothing_is_wider_than_a_phone(browser: Browser, shared: Path, dog: Path, tmp_path: Path):
    (tmp_path / f"{'long' * 30}.jpg").write_bytes(b"no image")
    service = Serving(tmp_path / "serve", *fastest(shared), env={"WEBSERVICE_KEY": "k"})
    with service, Visit(browser, service.url, expected=(401, 422), viewport=PHONE, has_touch=True) as visit:
        page = visit.open().page
        expect(page.locator("#key-input")).to_be_visible()
        assert visit.overflow_px() == 0
        page.locator("#key-input").fill("k")
        page.keyboard.press("Enter")
        visit.ready()
        assert visit.overflow_px() == 0
        visit.pick(dog)
        page.click("#copy-curl")
        page.locator("#classes-count").click()
        assert visit.overflow_px() == 0
        frame = page.locator("#image").bounding_box()
        assert frame is not None
        assert frame["width"] > 330
        visit.pick(*(shared / "images" / f"{name}.jpg" for name in ("eagle", "horses", "person", "giraffe")))
        visit.pick(tmp_path / f"{'long' * 30}.jpg")
        expect(page.locator("#failure")).to_be_visible()
        assert visit.overflow_px() == 0
        page.locator(".toolbar [data-camera]").click()
        expect(page.locator("#capture")).to_be_visible()
        assert visit.overflow_px() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser: Browser, serving: Serving, dog: Path, scheme: str, tmp_path: Path):
    def check(*selector: str) -> None:
        found = page.evaluate(CONTRAST)
        assert {one["text"] for one in found} >= set(selector)
        assert [one for one in found if not one["enough"]] == []

    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with Visit(browser, serving.url, expected=(422,), color_scheme=scheme, reduced_motion="reduce") as visit:
        page = visit.open().ready().page
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(14, 17, 22)") == (scheme == "dark")
        check("Ready", "Choose images")
        visit.pick(dog)
        page.locator(".chip").first.click()
        page.locator("#classes-count").click()
        page.click("#copy-curl")
        visit.rows.nth(0).hover()
        check("bicycle", "Copy curl", "decode")
        visit.pick(tmp_path / "bad.jpg")
        check("Try again")
        page.click("#theme")
        page.click("#theme")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 22)"
        page.reload()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 22)"
        moving = "document.getAnimations().filter((one) => one.playState === 'running').length"
        assert page.evaluate(moving) == 0


def test_the_camera_takes_photos_and_detects_continuously(browser: Browser, serving: Serving):
    with Visit(browser, serving.url) as visit:
        page = visit.open().ready().page
        page.locator("#welcome [data-camera]").click()
        expect(page.locator("#video")).to_be_visible()
        page.click("#capture")
        visit.finished(1)
        expect(page.locator("#image-name")).to_have_text("camera-1.jpg")
        size = page.locator("#image-size").inner_text()
        assert visit.colour_at("image", 0.5, 0.02)[3] == 255
        page.click("#camera-detect")
        expect(page.locator("#camera-rate")).to_contain_text("images/s")
        expect(page.locator("#image-size")).to_have_text(size)
        first = len(visit.scored)
        while len(visit.scored) < first + 5:
            page.wait_for_timeout(20)
        assert visit.most_at_once == 1
        assert visit.colour_at("image", 0.5, 0.02)[3] == 255
        page.click("#camera-detect")
        expect(page.locator("#camera-detect")).to_have_attribute("aria-pressed", "false")
        page.click("#camera-preview")
        expect(page.locator("#video")).to_be_visible()
        page.click("#camera-stop")
        expect(page.locator("#camera-controls")).to_be_hidden()
        assert page.evaluate("document.getElementById('video').srcObject") is None
        expect(page.locator("#image-name")).to_have_text("camera-1.jpg")
        count = len(visit.scored)
        page.wait_for_timeout(300)
        assert len(visit.scored) == count


def test_behind_a_path_and_while_the_service_is_busy(browser: Browser, serving: Serving, dog: Path):
    with Proxy(serving.url) as proxy, Visit(browser, proxy.url, expected=(503,)) as visit:
        proxy.busy = 1
        page = visit.open().page
        expect(page.locator("#banner")).to_contain_text("still loading")
        visit.ready()
        expect(page.locator("#banner")).to_be_hidden()
        proxy.busy = 2
        page.set_input_files("#files", [dog])
        expect(page.locator("#working-text")).to_contain_text("Trying again")
        started = time.monotonic()
        visit.finished(1)
        assert time.monotonic() - started > 1
        assert len(visit.scored) == 3
        assert len(visit.table()) == 5


def test_without_a_network_images_wait(browser: Browser, serving: Serving, dog: Path):
    with Visit(browser, serving.url) as visit:
        page = visit.open().ready().page
        visit.context.set_offline(True)
        expect(page.locator("#banner")).to_contain_text("offline")
        page.set_input_files("#files", [dog])
        expect(page.locator("#working-text")).to_contain_text("cannot be reached")
        visit.context.set_offline(False)
        visit.finished(1).ready()
        expect(page.locator("#banner")).to_be_hidden()
        assert len(visit.table()) == 5


@pytest.fixture(scope="module")
def hostile(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service whose model's card was written by somebody who wishes the page ill."""
    folder = tmp_path_factory.mktemp("hostile")
    model, _, weights, _, classes = fastest(shared)
    file = export_onnx(model, folder / "m.onnx", weights=weights, classes=classes)
    graph = onnx.load(file)
    (entry,) = (entry for entry in graph.metadata_props if entry.key == CARD_KEY)
    card = json.loads(entry.value)
    card["classes"] = [NAMES.get(name, name) for name in card["classes"]]
    card |= {"name": f"<h1>{'x' * 300}", "created": "<b>once</b>"}
    card["metrics"] = {"val_ap50": 0.4567, "epoch": 12, "<u>": ["<s>"]}
    card["trained_on"] = {"dataset": "<em>cats</em>", "images": {"train": 80, "val": 20}, "boxes": 1234}
    entry.value = json.dumps(card)
    onnx.save(graph, file)
    with Serving(folder / "serve", file) as running:
        yield running


def test_hostile_names_are_text(browser: Browser, hostile: Serving, dog: Path, tmp_path: Path):
    file = tmp_path / "it's $(id) <b>&amp; `x`.jpg"
    file.write_bytes(dog.read_bytes())
    with Visit(browser, hostile.url, viewport=PHONE) as visit:
        page = visit.open().ready().page
        there = page.locator("main *").count()
        visit.pick(file)
        assert {row[0] for row in visit.table()} >= {NAMES["dog"], NAMES["bicycle"]}
        assert page.locator(".chip", has_text="<img").count() == 1
        page.locator(".chip", has_text="<script").click()
        assert len(visit.table()) == 3
        page.locator("#classes-count").click()
        assert visit.overflow_px() == 0
        assert page.locator("main *").count() > there
        assert page.locator("main :is(img, script, b:not(.timing b), u, s, h1, em)").count() == 0
        expect(page.locator("#image-name")).to_have_text(file.name)
        assert visit.saved("#save-json")[0] == "it_s _id_ _b_amp_ _x_.json"
        page.click("#copy-curl")
        words = shlex.split(page.evaluate("navigator.clipboard.readText()"))
        assert words[words.index("--data-binary") + 1] == f"@{file.name}"


def test_the_card_describes_the_model(browser: Browser, hostile: Serving):
    with Visit(browser, hostile.url) as visit:
        page = visit.open().ready().page
        lines = page.locator("#facts > div").all_inner_texts()
        facts = dict(line.split("\n", 1) for line in lines)
        served = httpx.get(f"{hostile.url}/model").json()
        assert facts["Version"] == served["version"]
        assert facts["Engine"] == served["engine"]
        assert facts["val AP50"] == "0.457"
        assert facts["epoch"] == "12"
        assert facts["Trained on"] == "<em>cats</em>"
        assert facts["Images"] == "80 train, 20 val"
        assert facts["Created"] == "<b>once</b>"
        assert "32 MiB" in facts["Limits"]
        page.locator("#classes-count").click()
        expect(page.locator("#class-list li")).to_have_count(80)


def test_class_colours_start_as_in_drawn_images_and_never_repeat(browser: Browser, serving: Serving):
    with Visit(browser, serving.url) as visit:
        colours = visit.open().page.evaluate(
            "import('./page/palette.js').then((it) => Array.from({length: 150}, (_, i) => it.colourOf(i)))"
        )
    assert [tuple(colour) for colour in colours[: len(PALETTE)]] == list(PALETTE)
    assert len({tuple(colour) for colour in colours}) == 150
