"""Damaged images and model files: each must be read or refused in one message, never crash or hang.

Run:  .venv/bin/python benchmarks/fuzz.py [--images 5000] [--models 1000] [--seed 0] [--shared ../shared]
Time: about five minutes on two cores for 5,000 images, ten for 1,000 models.

Real images in nine forms and small models in six (.onnx raw and with NMS inside, .keras, .cfg, .weights,
and a real Darknet pair) are mutated: bits flipped, ends cut off, blocks moved, headers and numbers altered;
half of the .onnx and .keras files inside a sound container.
Child processes read them, so that a dead one is seen and named. Counted: fine; reported, a LookonceError
that names the file; and the faults: wrong (any other error, or a message without the name), crashed, hung.
Exit code 1 on any fault. The same seed and index give the same file: `--keep DIR` keeps the faulty ones.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import resource
import select
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

# Files a child reads before a fresh one takes over: TensorFlow keeps something of every model.
_SHIFT = {"images": 1000, "models": 50}
_PATIENCE_SECONDS = 60
_EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WORDS = ("-1", "0", "1", "7", "1000", "99999", "99999999999", "1e30", "nan", "inf", "", "x", "0.5")
FAULTS = ("wrong", "crashed", "hung")

_CFG = """[net]
height=64
width=96
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=16
size=3
stride=1
pad=1
activation=mish

[convolutional]
batch_normalize=1
filters=16
size=1
stride=1
pad=1
activation=swish

[shortcut]
from=-2
activation=linear

[convolutional]
filters=21
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=3,4,5
anchors=4,6, 8,10, 12,9, 20,30, 40,25, 60,50
classes=2
num=6

[route]
layers=-3

[upsample]
stride=2

[route]
layers=-1,0
groups=2
group_id=1

[convolutional]
filters=21
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0,1,2
anchors=4,6, 8,10, 12,9, 20,30, 40,25, 60,50
classes=2
num=6
"""


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """`data` damaged in one to three places; blocks may come from `other`."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_DAMAGES)(data, other, rng)
    return data


def _flip_bits(data: bytes, other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(min(len(changed), rng.choice((1, 1, 2, 8, 64)))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut_off(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((rng.randrange(len(data) + 1), rng.randrange(min(64, len(data)) + 1)))]


def _block(data: bytes, rng: random.Random) -> slice:
    start = rng.randrange(len(data) + 1)
    return slice(start, start + rng.choice((1, 4, 16, 256, 4096)))


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    place, taken = _block(data, rng), other[_block(other, rng)]
    return data[: place.start] + taken + data[rng.choice((place.start, place.stop, len(data))) :]


def _double(data: bytes, other: bytes, rng: random.Random) -> bytes:
    place = _block(data, rng)
    return data[: place.stop] + data[place] * rng.choice((1, 1, 50)) + data[place.stop :]


def _remove(data: bytes, other: bytes, rng: random.Random) -> bytes:
    place = _block(data, rng)
    return data[: place.start] + data[place.stop :]


def _edit_header(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """An extreme number, 1 to 4 bytes wide, near the start or, as zip has its header there, near the end."""
    value, width = rng.choice(_EXTREMES), rng.choice((1, 2, 4))
    number = (value & (256**width - 1)).to_bytes(width, rng.choice(("little", "big")))
    reach = rng.choice((32, 512))
    at = rng.randrange(min(reach, len(data)) + 1)
    if rng.random() < 0.3:
        at = max(0, len(data) - at - width)
    return data[:at] + number + data[at + width :]


def _edit_number(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A number written in text, as in a cfg or a model card; other files are flipped."""
    numbers = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", data[:20_000])]
    if not numbers:
        return _flip_bits(data, other, rng)
    start, end = rng.choice(numbers)
    return data[:start] + rng.choice(_WORDS).encode() + data[end:]


_DAMAGES = (_flip_bits, _flip_bits, _cut_off, _splice, _double, _remove, _edit_header, _edit_number)


def _rewired(data: bytes, rng: random.Random) -> bytes:
    """A readable ONNX file with one to three wrong numbers, names or operators in its graph."""
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    for _ in range(rng.choice((1, 1, 2, 3))):
        node, other = rng.choice(graph.node), rng.choice(graph.node)
        numbers = [one for one in node.attribute if one.ints or one.type == onnx.AttributeProto.INT]
        match rng.randrange(6):
            case 0 if numbers:
                attribute, value = rng.choice(numbers), rng.choice((-1, 0, 1, 2, 5, 1000, 2**31 - 1, 2**62))
                if attribute.ints:
                    attribute.ints[rng.randrange(len(attribute.ints))] = value
                else:
                    attribute.i = value
            case 1:
                node.input[rng.randrange(len(node.input))] = rng.choice([*other.input, *other.output])
            case 2:
                node.op_type = other.op_type
            case 3:
                tensor = rng.choice(graph.initializer)
                if tensor.dims:
                    tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((-1, 0, 1, 3, 2**31, 2**62))
            case 4:
                tensor = rng.choice(graph.initializer)
                tensor.raw_data = mutated(tensor.raw_data, tensor.raw_data, rng)
            case _:
                side = rng.choice(rng.choice([*graph.input, *graph.output]).type.tensor_type.shape.dim)
                side.dim_value = rng.choice((0, 1, 63, 1000, 2**31, 2**62))
    return bytes(model.SerializeToString())


def _repacked(data: bytes, rng: random.Random) -> bytes:
    """A sound zip file with one damaged entry."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w") as copy:
        entries = archive.namelist()
        chosen = rng.choice(entries)
        for entry in entries:
            content = archive.read(entry)
            copy.writestr(entry, mutated(content, content, rng) if entry == chosen else content)
    return packed.getvalue()


def make_images(folder: Path, shared: Path) -> None:
    """Whole images to damage, real JPEGs and smaller copies in other formats; and the bombs beside them."""
    from PIL import Image

    (folder.parent / "bombs").mkdir()
    for name, content in bombs():
        (folder.parent / "bombs" / name).write_bytes(content)

    originals = sorted((shared / "images").glob("*.jpg"))[:3]
    originals += sorted((shared / "data" / "bccd" / "JPEGImages").glob("*.jpg"))[:3]
    forms: dict[str, tuple[str, dict[str, object]]] = {
        "small.png": ("RGB", {}),
        "palette.png": ("P", {}),
        "deep.png": ("I;16", {}),
        "alpha.webp": ("RGBA", {"lossless": True}),
        "small.webp": ("RGB", {}),
        "small.bmp": ("RGB", {}),
        "small.tiff": ("RGB", {"compression": "tiff_lzw"}),
        "plain.tiff": ("CMYK", {}),
        "small.gif": ("P", {}),
        "progressive.jpg": ("CMYK", {"progressive": True}),
        "small.ppm": ("RGB", {}),
    }
    for number, original in enumerate(originals):
        (folder / f"{number}-real.jpg").write_bytes(original.read_bytes())
        small = Image.open(original).convert("RGB").resize((160, 120))
        for ending, (mode, options) in forms.items():
            image = (
                small.convert("L").convert("I").point(lambda value: value * 256) if mode[0] == "I" else small
            )
            image.convert(mode).save(folder / f"{number}-{ending}", **options)


def make_models(folder: Path, shared: Path) -> None:
    """Whole models to damage. A damaged cfg has its whole weights beside it, and the other way round."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from lookonce.darknet import random_weights, read_cfg, write_weights
    from lookonce.export import export_onnx
    from lookonce.models.keras import save_model
    from lookonce.models.open import open_model

    cfg = folder / "small.cfg"
    cfg.write_text(_CFG)
    weights = cfg.with_suffix(".weights")
    write_weights(weights, read_cfg(cfg), random_weights(read_cfg(cfg), 0))
    export_onnx(cfg, folder / "small.onnx", weights=weights)
    export_onnx(cfg, folder / "boxes.onnx", weights=weights, nms=True)
    save_model(folder / "small.keras", *open_model(cfg, weights=weights))
    real = shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1.cfg"
    for file in (real, real.with_suffix(".weights")):
        (folder / file.name).write_bytes(file.read_bytes())
    export_onnx(real, folder / "real.onnx", weights=real.with_suffix(".weights"))


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that ask for much memory: more pixels than allowed, and as many as are."""

    def png(width: int, height: int, depth: int, colour: int, rows: int) -> bytes:
        def chunk(kind: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        bits = depth * {0: 1, 2: 3, 6: 4}[colour]
        pixels = zlib.compress(bytes((1 + (width * bits + 7) // 8) * rows), 1)
        header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + body

    yield "bomb.png", png(30_000, 30_000, 8, 2, 300)
    yield "bomb_of_bits.png", png(60_000, 60_000, 1, 0, 6_000)
    yield "claims.png", png(2**31 - 1, 2**31 - 1, 8, 2, 1)
    yield "largest.png", png(9_400, 9_400, 8, 2, 9_400)
    yield "largest_16_bit.png", png(9_400, 9_400, 16, 6, 9_400)
    yield "largest_claim.png", png(9_400, 9_400, 16, 2, 10)


def file_of(kind: str, index: int, seed: int, material: Path) -> tuple[str, bytes, str]:
    """Name and content of the damaged file `index`, and the whole one that it was made of."""
    bombs = sorted((material / "bombs").iterdir()) if kind == "images" else []
    if index < len(bombs):
        return bombs[index].name, bombs[index].read_bytes(), ""
    rng = random.Random(f"{kind} {seed} {index}")
    originals = sorted(path for path in (material / kind).iterdir() if path.is_file())
    original, other = rng.choice(originals), rng.choice(originals)
    name = f"damaged-{index}{original.suffix}"
    content = original.read_bytes()
    inside = {".onnx": _rewired, ".keras": _repacked}.get(original.suffix)
    if inside is not None and rng.random() < 0.5:
        return name, inside(content, rng), original.name
    return name, mutated(content, other.read_bytes(), rng), original.name


def reader_of(kind: str, folder: Path, material: Path) -> Callable[[Path, str], None]:
    """What reads a damaged file: the path, and the name of the file it was made of."""
    if kind == "images":
        from lookonce.io.images import image_size, read_image

        def read(path: Path, original: str) -> None:
            pixels = read_image(path)
            assert pixels.dtype.name == "uint8", pixels.dtype
            assert image_size(path) == pixels.shape[1::-1]

        return read

    os.environ["LOOKONCE_CACHE"] = str(folder / "cache")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np

    from lookonce.inference import Detector

    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)

    def detect(path: Path, original: str) -> None:
        whole = material / "models" / original
        if path.suffix == ".cfg":
            detector = Detector(path, weights=whole.with_suffix(".weights"), threads=1)
        elif path.suffix == ".weights":
            detector = Detector(whole.with_suffix(".cfg"), weights=path, threads=1)
        else:
            detector = Detector(path, threads=1)
        found = detector.detect(image)
        assert np.isfinite(found.boxes).all()

    return detect


def child(kind: str, start: int, end: int, seed: int, material: Path) -> None:
    """Read the files start..end-1; one JSON line before each and one after, on standard output."""
    # Whatever a library prints must not come between the lines.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        read = reader_of(kind, folder, material)
        for index in range(start, end):
            name, content, original = file_of(kind, index, seed, material)
            path = folder / name
            path.write_bytes(content)
            before = _peak_mb()
            print(json.dumps({"index": index, "of": original or name}), file=answers, flush=True)
            verdict, message = _verdict(read, path, original)
            path.unlink()
            peak = _peak_mb()
            answer = {"verdict": verdict, "message": message, "peak_mb": peak, "grew": peak > before}
            print(json.dumps(answer), file=answers, flush=True)


def _peak_mb() -> float:
    # Linux counts the parent's memory in a child's ru_maxrss, but not in VmHWM.
    try:
        status = Path("/proc/self/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _verdict(read: Callable[[Path, str], None], path: Path, original: str) -> tuple[str, str]:
    from lookonce.errors import LookonceError

    try:
        read(path, original)
    except LookonceError as error:
        named = path.name in str(error) or (original and Path(original).stem in str(error))
        return ("reported" if named else "wrong"), str(error)
    except Exception:
        return "wrong", traceback.format_exc()
    return "fine", ""


def run(kind: str, count: int, seed: int, material: Path, keep: Path | None) -> Counter[str]:
    """Read `count` damaged files in child processes; prints faults as they come, and the sums."""
    counts: Counter[str] = Counter()
    by_form: Counter[tuple[str, str]] = Counter()
    peak_mb, heaviest, slowest, slowest_name, start = 0.0, "", 0.0, "", 0
    began = time.monotonic()
    while start < count:
        end = min(start + _SHIFT[kind], count)
        for index, of, verdict, message, mb, seconds in _shift(kind, start, end, seed, material):
            counts[verdict] += 1
            by_form[of.partition("-")[2] or of, verdict] += 1
            if mb > peak_mb:
                peak_mb, heaviest = mb, f"{index} of {of}"
            if seconds > slowest:
                slowest, slowest_name = seconds, f"{index} of {of}"
            if verdict in FAULTS:
                print(f"{kind} {index} of {of}: {verdict}\n{message}", flush=True)
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    name, content, _ = file_of(kind, index, seed, material)
                    (keep / name).write_bytes(content)
            start = index + 1
    print(f"{kind}: {count} in {time.monotonic() - began:.0f} s, {dict(counts)}")
    for form in sorted({form for form, _ in by_form}):
        print(
            f"  {form:24}", {verdict: by_form[form, verdict] for verdict in counts if by_form[form, verdict]}
        )
    print(f"  peak memory {peak_mb:.0f} MB ({heaviest}); slowest {slowest:.1f} s ({slowest_name})")
    return counts


def _shift(
    kind: str, start: int, end: int, seed: int, material: Path
) -> Iterator[tuple[int, str, str, str, float, float]]:
    """One child's work; ends early when it dies or has to be stopped."""
    command = [sys.executable, __file__, "--child", kind, str(start), str(end), str(seed), str(material)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as worker,
    ):
        index, of, ended, peak = start, "start", True, 0.0
        began = time.monotonic()
        for line in _lines(worker):
            answer = json.loads(line)
            if "index" in answer:
                index, of, ended, began = answer["index"], answer["of"], False, time.monotonic()
                continue
            ended = True
            peak = answer["peak_mb"] if answer["grew"] else 0.0
            yield index, of, answer["verdict"], answer["message"], peak, time.monotonic() - began
        hung = worker.poll() is None
        if hung:
            worker.kill()
        code = worker.wait()
        if code and ended and not hung:
            errors.seek(0)
            raise SystemExit(f"the child itself failed:\n{errors.read()[-2000:].decode(errors='replace')}")
        if not ended:
            errors.seek(0)
            said = f"exit code {code}\n{errors.read()[-2000:].decode(errors='replace')}"
            yield index, of, "hung" if hung else "crashed", said, 0.0, time.monotonic() - began


def _lines(worker: subprocess.Popen[bytes]) -> Iterator[str]:
    """The worker's lines, until it ends or says nothing for too long."""
    assert worker.stdout is not None
    stream, left = worker.stdout.fileno(), b""
    while select.select([stream], [], [], _PATIENCE_SECONDS)[0]:
        read = os.read(stream, 65536)
        if not read:
            worker.wait()
            return
        *lines, left = (left + read).split(b"\n")
        yield from (line.decode() for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--keep", type=Path, help="folder for the files that made faults")
    arguments = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as place:
        material = Path(place)
        for kind, count, make in (
            ("images", arguments.images, make_images),
            ("models", arguments.models, make_models),
        ):
            if count:
                (material / kind).mkdir()
                make(material / kind, arguments.shared)
                counts = run(kind, count, arguments.seed, material, arguments.keep)
                faults += sum(counts[fault] for fault in FAULTS)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), Path(sys.argv[6]))
    else:
        main()
