"""The page of `lookonce serve`, in a real browser against a real service."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Browser, expect

from page_browser import Visit, chromium
from serving_process import Serving, fastest

KEY = "corréct-horse"
TIMES = "\N{MULTIPLICATION SIGN}"


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


@pytest.fixture(scope="module")
def result(serving: Serving, dog: Path) -> dict[str, Any]:
    """What the service itself says of dog.jpg."""
    headers = {"Content-Type": "image/jpeg"}
    return httpx.post(f"{serving.url}/score?conf=0.05", content=dog.read_bytes(), headers=headers).json()[0]


def as_rows(result: dict[str, Any], threshold: float) -> list[list[str]]:
    wide, high = result["width"], result["height"]
    rows = []
    for one in result["boxes"]:
        box = one["box"]
        left, right = (round(box[key] * wide) for key in ("topX", "bottomX"))
        top, bottom = (round(box[key] * high) for key in ("topY", "bottomY"))
        if one["score"] >= threshold:
            size = f"{right - left} {TIMES} {bottom - top}"
            rows.append([one["label"], f"{one['score']:.2f}", f"{left}, {top}", size])
    return rows


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)


def test_a_picked_image_shows_the_services_boxes(
    browser: Browser, serving: Serving, dog: Path, result: dict[str, Any]
):
    with Visit(browser, serving.url, device_scale_factor=2) as visit:
        visit.open().ready().pick(dog)
        assert len(as_rows(result, 0.3)) >= 3
        assert visit.table() == as_rows(result, 0.3)
        expect(visit.page.locator("#live")).to_contain_text("dog.jpg: 5 objects: 1 dog, 2 bicycle")
        expect(visit.page.locator("#timing-parts")).to_contain_text("infer")

        best = result["boxes"][0]
        colour = visit.page.evaluate("import('./page/palette.js').then((it) => it.colourOf(16))")
        middle = (best["box"]["topY"] + best["box"]["bottomY"]) / 2
        assert visit.colour_at("boxes", best["box"]["topX"] + 0.001, middle) == [*colour, 255]
        shape = visit.page.evaluate(
            "() => { const c = document.getElementById('image');"
            "return [c.width, c.getBoundingClientRect().width, c.height / c.width] }"
        )
        assert shape[0] == pytest.approx(2 * shape[1], abs=1)
        assert shape[2] == pytest.approx(576 / 768, abs=0.01)
        with Image.open(dog) as image:
            expected = image.resize((96, 72)).getpixel((70, 60))
        assert visit.colour_at("image", 70.5 / 96, 60.5 / 72)[:3] == pytest.approx(expected, abs=25)


def test_threshold_and_class_filters_act_without_a_request(
    browser: Browser, serving: Serving, dog: Path, result: dict[str, Any]
):
    with Visit(browser, serving.url) as visit:
        page = visit.open().ready().pick(dog).page
        for threshold in (0.05, 0.55, 0.3):
            visit.slide(threshold)
            assert visit.table() == as_rows(result, threshold)
        chips = page.locator(".chip")
        assert [text.split() for text in chips.all_inner_texts()] == [
            ["dog", "1"],
            ["bicycle", "2"],
            ["car", "2"],
        ]
        chips.nth(1).click()
        assert [row[0] for row in visit.table()] == ["dog", "car", "car"]
        page.click("#no-classes")
        assert visit.table() == []
        expect(page.locator("#no-rows")).to_contain_text("passes the filters")
        assert visit.colour_at("boxes", result["boxes"][0]["box"]["topX"] + 0.001, 0.6)[3] == 0
        page.click("#all-classes")
        assert visit.table() == as_rows(result, 0.3)
        assert len(visit.scored) == 1


def test_rows_and_boxes_highlight_each_other(
    browser: Browser, serving: Serving, dog: Path, result: dict[str, Any]
):
    with Visit(browser, serving.url) as visit:
        page = visit.open().ready().pick(dog).page
        best = result["boxes"][0]["box"]
        edge = (best["topX"] + 0.001, (best["topY"] + best["bottomY"]) / 2)
        assert visit.colour_at("boxes", *edge)[3] == 255
        visit.rows.nth(2).hover()
        assert visit.colour_at("boxes", *edge)[3] < 200
        visit.rows.nth(0).hover()
        assert visit.colour_at("boxes", *edge)[3] == 255
        frame = page.locator("#boxes").bounding_box()
        assert frame is not None
        page.mouse.move(frame["x"] + 0.17 * frame["width"], frame["y"] + 0.86 * frame["height"])
        expect(visit.rows.nth(0)).to_have_class("highlighted")
        page.mouse.move(frame["x"] + 2, frame["y"] + 2)
        expect(visit.rows.nth(0)).not_to_have_class("highlighted")


def give(visit: Visit, event: str, *files: Path) -> None:
    """Drop or paste files, as a file manager hands them over."""
    visit.page.evaluate(
        """([event, files]) => {
          const data = new DataTransfer();
          for (const [name, content] of files) {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            data.items.add(new File([bytes], name, {type: "image/jpeg"}));
          }
          if (!files.length) data.setData("text/uri-list", "http://example.org/image.jpg");
          const made = event === "paste"
            ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
            : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
          document.querySelector("#stage").dispatchEvent(made);
        }""",
        [event, [[file.name, base64_of(file)] for file in files]],
    )


def base64_of(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def test_dropped_pasted_and_chosen_images_are_sent_two_at_a_time(
    browser: Browser, serving: Serving, shared: Path, dog: Path, result: dict[str, Any]
):
    others = [shared / "images" / f"{name}.jpg" for name in ("eagle", "giraffe", "horses", "person")]
    with Visit(browser, serving.url) as visit:
        page = visit.open().ready().page
        give(visit, "drop", *others)
        visit.finished(4)
        give(visit, "paste", dog)
        visit.finished(5)
        assert visit.table() == as_rows(result, 0.3)
        with page.expect_file_chooser() as chooser:
            page.click("#add")
        chooser.value.set_files([dog, others[0]])
        visit.finished(7)
        give(visit, "drop")
        expect(page.locator("#toast-text")).to_contain_text("a link, not a file")
        assert visit.most_at_once == 2
        assert len(visit.scored) == 7
        visit.thumbnails.nth(3).click()
        expect(page.locator("#image-name")).to_have_text("person.jpg")
        assert "person" in {row[0] for row in visit.table()}
        visit.thumbnails.nth(3).press("Delete")
        expect(visit.thumbnails).to_have_count(6)
        page.click("#clear")
        expect(page.locator("#choose")).to_be_focused()


def test_the_json_has_the_visible_detections(
    browser: Browser, serving: Serving, shared: Path, dog: Path, result: dict[str, Any]
):
    with Visit(browser, serving.url) as visit:
        page = visit.open().ready().pick(shared / "images" / "horses.jpg").pick(dog).page
        visit.slide(0.2)
        page.locator(".chip", has_text="dog").click()
        name, content = visit.saved("#save-json")
        boxes = [one for one in result["boxes"] if one["score"] >= 0.2 and one["label"] != "dog"]
        assert name == "dog.json"
        assert json.loads(content) == [{**result, "filename": "dog.jpg", "boxes": boxes}]
        _, content = visit.saved("#save-all-json")
        everything = json.loads(content)
        assert [one["filename"] for one in everything] == ["horses.jpg", "dog.jpg"]
        assert everything[1]["boxes"] == boxes


def test_the_annotated_image_is_drawn_at_full_size(
    browser: Browser, serving: Serving, dog: Path, result: dict[str, Any]
):
    with Visit(browser, serving.url, viewport={"width": 500, "height": 700}) as visit:
        page = visit.open().ready().pick(dog).page
        page.select_option("#image-format", "image/png")
        name, png = visit.saved("#save-image")
        assert name == "dog.boxes.png"
        drawn, plain = pixels(png), pixels(dog.read_bytes())
        assert drawn.shape == plain.shape
        changed = np.abs(drawn - plain).max(axis=2) > 40
        assert 0.002 < changed.mean() < 0.2
        best = result["boxes"][0]["box"]
        left, right = round(best["topX"] * 768), round(best["bottomX"] * 768)
        assert changed[300:460, left].mean() > 0.9
        assert changed[300:460, right - 1].mean() > 0.9
        assert changed[500:, 600:].mean() < 0.01
        page.select_option("#image-format", "image/jpeg")
        assert Image.open(io.BytesIO(visit.saved("#save-image")[1])).format == "JPEG"


def test_a_rotated_image_is_shown_as_the_service_decodes_it(
    browser: Browser, serving: Serving, dog: Path, tmp_path: Path
):
    with Visit(browser, serving.url) as visit, Image.open(dog) as image:
        page = visit.open().ready().pick(dog).page
        page.select_option("#image-format", "image/png")
        visit.slide(1)
        for orientation in range(1, 9):
            file = tmp_path / f"turned-{orientation}.jpg"
            exif = Image.Exif()
            exif[0x0112] = orientation
            image.resize((240, 160)).save(file, exif=exif)
            visit.pick(file)
            with Image.open(file) as turned:
                upright = np.asarray(ImageOps.exif_transpose(turned).convert("RGB"), np.int16)
            high, wide, _ = upright.shape
            expect(page.locator("#image-size")).to_have_text(f"{wide} {TIMES} {high} px")
            expect(page.locator("#mismatch")).to_be_hidden()
            assert np.abs(pixels(visit.saved("#save-image")[1]) - upright).mean() < 3, orientation


def test_the_key_is_prompted_for_and_stays_hidden(browser: Browser, shared: Path, dog: Path, tmp_path: Path):
    service = Serving(tmp_path, *fastest(shared), env={"WEBSERVICE_KEY": KEY})
    with service, Visit(browser, service.url, expected=(401,)) as visit:
        page = visit.open().page
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        field = page.locator("#key-input")
        expect(field).to_be_focused()
        field.fill("wrong")
        field.press("Enter")
        expect(page.locator("#key-error")).to_contain_text("not accept")
        field.press("Escape")
        expect(page.locator("#light-text")).to_have_text("Key needed")
        page.click("#connect")
        field.fill(KEY)
        field.press("Enter")
        assert visit.ready().pick(dog).table()
        page.click("#copy-curl")
        command = page.evaluate("navigator.clipboard.readText()")
        assert "$WEBSERVICE_KEY" in command
        assert KEY not in command + page.content() + page.url + "".join(requested)
        assert page.evaluate("JSON.stringify(localStorage)") == "{}"
        page.reload()
        visit.ready()
        page.click("#forget-key")
        expect(field).to_be_focused()
        assert page.evaluate("sessionStorage.length") == 0


def test_a_bad_image_shows_the_services_message_and_leaves_others_alone(
    browser: Browser, serving: Serving, dog: Path, tmp_path: Path
):
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(b"hello, no image")
    headers = {"Content-Type": "image/jpeg"}
    response = httpx.post(f"{serving.url}/score", content=bad.read_bytes(), headers=headers)
    with Visit(browser, serving.url, expected=(422,)) as visit:
        page = visit.open().ready().pick(bad, dog).page
        text = page.locator("#failure-text").inner_text()
        assert text.lower() == response.json()["error"].removeprefix("image_0: ").lower()
        expect(page.locator("#failure")).to_be_visible()
        expect(page.locator("#live")).to_contain_text("holiday.jpg: Not a readable image")
        page.click("#retry")
        expect(page.locator("#failure")).to_be_visible()
        assert len(visit.scored) == 3
        page.click("#drop-failed")
        expect(page.locator("#image-name")).to_have_text("dog.jpg")
        expect(page.locator("#failure")).to_be_hidden()
        assert len(visit.table()) == 5


def test_oversized_images_are_reported_before_sending(browser: Browser, serving: Serving, tmp_path: Path):
    Image.new("1", (12_000, 12_000)).save(tmp_path / "many-pixels.png")
    (tmp_path / "many-bytes.jpg").write_bytes(b"\xff" * (4 * 2**20 + 1))
    (tmp_path / "film.mp4").write_bytes(b"film")
    (tmp_path / "empty.jpg").write_bytes(b"")
    expected = {
        "many-pixels.png": f"12000 {TIMES} 12000 pixels",
        "many-bytes.jpg": "4 MiB",
        "film.mp4": "Not an image but video/mp4",
        "empty.jpg": "empty",
    }
    with Visit(browser, serving.url) as visit:
        page = visit.open().ready().pick(*(tmp_path / name for name in expected)).page
        for index, message in enumerate(expected.values()):
            visit.thumbnails.nth(index).click()
            expect(page.locator("#failure-text")).to_contain_text(message)
        assert visit.scored == []


def test_a_format_that_browsers_do_not_know_keeps_its_boxes(
    browser: Browser, serving: Serving, dog: Path, result: dict[str, Any], tmp_path: Path
):
    with Image.open(dog) as image:
        image.save(tmp_path / "dog.tiff")
    with Visit(browser, serving.url) as visit:
        page = visit.open().ready().pick(tmp_path / "dog.tiff").page
        assert [row[0] for row in visit.table()] == [row[0] for row in as_rows(result, 0.3)]
        expect(page.locator("#no-preview")).to_be_visible()
        assert visit.colour_at("boxes", result["boxes"][0]["box"]["topX"] + 0.001, 0.6)[3] == 255
