"""Painting on this device, measured in headless Chromium: python benchmarks/device.py [--weights FOLDER] [--threads 1]

First the page itself: what it sends, how far its pictures are from the server's, and what a large one takes. Then the
networks against TensorFlow.js, whose packages are no part of the project:
    npm install --no-save @tensorflow/tfjs-{core,converter,backend-wasm}@4.22.0
FOLDER holds the published separable transformer (model.json and its shard). Both run on WebAssembly, taking turns, with
the same number of threads; only ratios mean something on a machine with other work.
"""

import argparse
import functools
import http.server
import json
import shutil
import tempfile
import threading
import time
from pathlib import Path

from page import WAIT, serving
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from stylizer.settings import Settings
from stylizer.studies import ADDED_SIZE

ROOT = Path(__file__).parents[1]
SIDES = (256, 512)
PAGE = """<!DOCTYPE html>
<script src="/node_modules/@tensorflow/tfjs-core/dist/tf-core.min.js"></script>
<script src="/node_modules/@tensorflow/tfjs-converter/dist/tf-converter.min.js"></script>
<script src="/node_modules/@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.min.js"></script>
<script type="module">
import * as ort from "/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
const median = (times) => times.sort((one, other) => one - other)[times.length >> 1];
const timed = async (task) => { const since = performance.now(); await task(); return performance.now() - since; };

window.compare = async (side, threads, rounds, size) => {
  tf.wasm.setWasmPaths("/node_modules/@tensorflow/tfjs-backend-wasm/dist/");
  tf.wasm.setThreadsCount(threads);
  await tf.setBackend("wasm");
  const rival = await tf.loadGraphModel("/rival/model.json");
  ort.env.wasm.wasmPaths = "/node_modules/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = threads;
  const make = (part) => ort.InferenceSession.create(`/models/transformer-separable-${part}.onnx`, {
    executionProviders: ["wasm"], logSeverityLevel: 3,
  });
  const [encoder, decoder] = [await make("encoder"), await make("decoder")];
  const pixels = Float32Array.from({ length: 3 * side * side }, () => Math.random());
  const numbers = Float32Array.from({ length: 100 }, () => Math.random() - 0.5);
  const content = new ort.Tensor("float32", pixels, [1, 3, side, side]);
  const vector = new ort.Tensor("float32", numbers, [1, 100]);
  const added = new ort.Tensor("float32", new Float32Array(size), [size]);    // what a study would add: nothing
  const times = { rival: [], whole: [], slider: [] };
  for (let round = 0; round <= rounds; round++) {             // the first is for warming up
    const inputs = Object.fromEntries(rival.inputs.map(({ name, shape }) =>
      [name, shape[3] === 3 ? tf.tensor(pixels, [1, side, side, 3]) : tf.tensor(numbers, [1, 1, 1, 100])]));
    const theirs = await timed(async () => {
      const painted = rival.execute(inputs);
      await painted.data();
      painted.dispose();
    });
    let features;
    const encode = await timed(async () => { ({ features } = await encoder.run({ content })); });
    const decode = await timed(() => decoder.run({ features, vector, added }));
    tf.dispose(inputs);
    if (!round) continue;
    times.rival.push(theirs);
    times.whole.push(encode + decode);
    times.slider.push(decode);
  }
  const medians = Object.fromEntries(Object.entries(times).map(([name, each]) => [name, median(each)]));
  return { ...medians, threads: [tf.wasm.getThreadsCount(), threads] };
};
</script>"""


# One photo painted by the browser and by the server: the mean absolute difference, of 255.
DIFFERENCE = """async () => {
    const pixels = async (picture) => {
        const bitmap = await createImageBitmap(picture);
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
        context.drawImage(bitmap, 0, 0);
        return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    };
    const { state } = await import("/assets/page/state.js");
    const { engine } = await import("/assets/engines/engine.js");
    const { server } = await import("/assets/engines/server.js");
    const content = await (await fetch(state.page.sample)).blob();
    const style_name = state.page.first_style;
    const wish = { content, style_name, size: 512, format: "png" };
    const here = await pixels(await engine().post("api/v1/stylize", wish));
    const there = await pixels(await server.post("api/v1/stylize", wish));
    return here.reduce((sum, value, index) => sum + Math.abs(value - there[index]), 0) * 4 / 3 / here.length;
}"""


class Peak(threading.Thread):
    """The most memory that any of the browser's page processes held, in bytes, as Linux tells it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.bytes = 0

    def run(self) -> None:
        while True:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if "--type=renderer" in (process / "cmdline").read_text():
                        pages = int((process / "statm").read_text().split()[1])
                        self.bytes = max(self.bytes, pages * 4096)
                except OSError:
                    pass  # it has just ended
            time.sleep(0.2)


def studio(browser: Browser, megapixels: float) -> None:
    """The page with its switch on: posts, difference from the server, a large photo."""
    posts = []
    with serving() as url, tempfile.TemporaryDirectory() as folder:
        # Playwright waits for expressions by eval, which the page's policy forbids
        page = browser.new_page(bypass_csp=True)
        page.set_default_timeout(WAIT)
        page.goto(url)
        page.get_by_label("On this device").click()
        page.locator("#device-words").filter(has_text="No picture is sent").wait_for()
        page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
        width = round((megapixels * 1.5e6) ** 0.5)
        large = Path(folder) / "large.jpg"
        Image.open(ROOT / "assets/sample.jpg").resize((width, round(width / 1.5)), Image.Resampling.BICUBIC).save(large)
        page.get_by_label("Photo").set_input_files(large)
        page.locator("#photo-caption").filter(has_text="large").wait_for()
        page.locator("#size").select_option("original")
        page.locator("#format").select_option("jpeg")
        peak = Peak()
        peak.start()
        start = time.perf_counter()
        page.get_by_role("button", name="Transfer").click()
        page.get_by_role("status").filter(has_text="Painted in").wait_for(timeout=2 * WAIT)
        print(f"{megapixels:g} megapixels: {time.perf_counter() - start:.0f} s, {peak.bytes / 1e9:.2f} GB at the peak")
        print(f"posts while painting: {len(posts)}")
        print(f"difference from the server's picture: {page.evaluate(DIFFERENCE):.2f} of 255")


class Files(http.server.SimpleHTTPRequestHandler):
    """The checkout, the rival's model and the page, isolated as WebAssembly's threads want it."""

    extensions_map = {  # noqa: RUF012 (the base class has it so)
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *args, rival: Path, **options):
        self.rival = rival
        super().__init__(*args, directory=str(ROOT), **options)

    def translate_path(self, path: str) -> str:
        rival = path.startswith("/rival/")
        return str(self.rival / path.removeprefix("/rival/")) if rival else super().translate_path(path)

    def do_GET(self) -> None:
        if self.path != "/":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_args) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=ROOT.parent / "shared" / "weights" / "magenta-separable-tfjs")
    parser.add_argument("--threads", type=int, default=1, help="TensorFlow.js was seen to take one whatever it is told")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megapixels", type=float, default=24)
    options = parser.parse_args()
    networks = (f"{stem}*.onnx" for stem in (Settings().predictor_stem, Settings().transformer_stem))
    weights = sum(file.stat().st_size for network in networks for file in (ROOT / "models").glob(network))
    print(f"weights to download: {weights / 1e6:.1f} MB")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        studio(browser, options.megapixels)
        if (ROOT / "node_modules/@tensorflow").exists():
            against_rival(browser, options)
        else:
            print("TensorFlow.js is not installed: no comparison")
        browser.close()


def against_rival(browser: Browser, options: argparse.Namespace) -> None:
    handler = functools.partial(Files, rival=options.weights)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    for side in SIDES:
        found = page.evaluate(f"compare({side}, {options.threads}, {options.rounds}, {ADDED_SIZE})")
        whole, slider = found["rival"] / found["whole"], found["rival"] / found["slider"]
        print(f"{side} px: whole {whole:.2f} x, slider move {slider:.2f} x   {json.dumps(found)}", flush=True)
    server.shutdown()


if __name__ == "__main__":
    main()
