"""The page's scripts by themselves, in a real browser: names, download names, answers of the server, pictures."""

import base64
import re

import numpy as np
import pictures
import pytest
from browsing import expect, transfer, upload_photo

from stylizer import images
from stylizer.brushwork import with_brushwork
from stylizer.images import Picture
from stylizer.settings import Settings


@pytest.fixture(scope="module")
def studio(desktop, server):
    """One page, for tests that call its functions and leave it as it was."""
    page = desktop.new_page()
    page.goto(server.url)
    expect(page.locator("#photo-caption")).to_contain_text("sample", timeout=60_000)
    yield page
    page.close()


# What the server answers ---------------------------------------------------------------------------------------------

ASK = """async ({ path, fields, retries }) => {
    const words = [], tiles = [];
    const options = { retries, on_wait: (each) => words.push(each), on_tile: ({ index }) => tiles.push(index) };
    try {
        const content = new Blob(["picture"]);
        const { server } = await import("/assets/engines/server.js");
        const answer = await server.post(path, { content, ...fields }, options);
        return { words, tiles, bytes: answer?.size };
    } catch (error) {
        return { words, tiles, name: error.constructor.name, error: error.message, away: error.away };
    }
}"""
TILE = '{"index": 0, "style": "a", "picture": "UklGRg=="}\n'
OTHER = TILE.replace("0", "1", 1)
WALL = {"path": "api/v1/wall", "fields": {"style_name": ["a", "b"]}}
PAINTING = {"path": "api/v1/stylize", "fields": {"style_name": "a"}}


def ask(page, answers: list[dict], request: dict, tries: int = 0) -> dict:
    """What the page makes of these answers of the server, one a try; seconds between tries are none."""
    answers = list(answers)
    page.route(f"**/{request['path']}", lambda route: route.fulfill(**answers.pop(0)))
    try:
        return page.evaluate(ASK, {**request, "retries": [0.01] * tries})
    finally:
        page.unroute(f"**/{request['path']}")
        assert answers == []


def lines(*texts: str) -> dict:
    return {"status": 200, "content_type": "application/x-ndjson", "body": "".join(texts)}


def refusal(status: int, **members) -> dict:
    return {"status": status, "json": {"status": status, **members}, "headers": {"Retry-After": "0.05"}}


NO_ROOM = {"code": "out-of-memory", "title": "No memory", "detail": "decoding content needs 900 MB and 3 MB is free"}


def test_a_whole_wall_is_taken_with_or_without_a_last_end_of_line(studio):
    for answer in (lines(TILE, OTHER), lines(TILE, OTHER.strip())):
        assert ask(studio, [answer], WALL)["tiles"] == [0, 1]


def test_a_wall_that_is_cut_within_a_line_or_between_two_is_asked_for_again(studio):
    for cut in (lines(TILE, OTHER[:20]), lines(TILE), lines()):
        found = ask(studio, [cut, lines(TILE, OTHER)], WALL, tries=1)
        assert found["tiles"][-2:] == [0, 1] and found["words"] == ["The server does not answer, trying again…"]
        assert "does not answer" in ask(studio, [cut], WALL)["error"]


def test_what_went_wrong_in_a_walls_last_line_is_said_and_tried_again_where_that_helps(studio):
    broken = '{"problem": {"status": 500, "code": "internal", "detail": "the server failed"}}\n'
    assert ask(studio, [lines(TILE, broken)], WALL, tries=3)["error"] == "The server failed."
    full = broken.replace("500", "503").replace("internal", "out-of-memory").replace("the server failed", "no memory")
    found = ask(studio, [lines(TILE, full), lines(TILE, OTHER)], WALL, tries=1)
    assert found["tiles"] == [0, 0, 1] and found["words"] == ["The server is short of memory, waiting…"]
    assert ask(studio, [lines(full)], WALL)["error"] == "No memory."


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(429, code="busy", detail="come again"), "The server is busy, waiting…"),
        (refusal(503, **NO_ROOM), "The server is short of memory, waiting…"),
        (refusal(503, code="not-ready", detail="it starts"), "The server is starting, waiting…"),
        (refusal(503, code="restarting", detail="come again"), "The server is restarting, waiting…"),
        (refusal(503, code="took-too-long", detail="too long"), "The server is overloaded, trying again…"),
        ({"status": 502, "body": "<html>no</html>"}, "The server does not answer, trying again…"),
    ],
)
def test_a_refusal_that_will_pass_is_told_by_its_cause_and_asked_again(studio, answer, words):
    done = {"status": 200, "content_type": "image/png", "body": "painted"}
    assert ask(studio, [answer, done], PAINTING, tries=1) == {"words": [words], "tiles": [], "bytes": 7}


def test_a_refusal_that_stays_is_told_in_the_servers_words(studio):
    found = ask(studio, [refusal(503, **NO_ROOM)] * 2, PAINTING, tries=1)
    assert found["error"] == "Decoding content needs 900 MB and 3 MB is free." and found["away"]


def test_a_wait_ends_at_once_when_nobody_wants_the_painting_any_more(studio):
    studio.route("**/api/v1/stylize", lambda route: route.fulfill(status=429, headers={"Retry-After": "3000"}))
    since = studio.evaluate("""async () => {
        const controller = new AbortController(), since = performance.now();
        const on_wait = () => controller.abort();       // before the wait has begun
        const { signal } = controller;
        const { server } = await import("/assets/engines/server.js");
        await server.post("api/v1/stylize", { style_name: "a" }, { signal, on_wait }).catch(() => {});
        return performance.now() - since;
    }""")
    studio.unroute("**/api/v1/stylize")
    assert since < 20_000


# Pictures ------------------------------------------------------------------------------------------------------------


def test_a_picture_that_the_browser_cannot_make_is_told_in_words_and_tried_again_the_next_time(studio):
    first, second = studio.evaluate("""async () => {
        const { toBlob } = HTMLCanvasElement.prototype;
        HTMLCanvasElement.prototype.toBlob = (take) => take(null);      // as beyond a canvas's bounds
        const { state } = await import("/assets/page/state.js");
        const { copy_of } = await import("/assets/page/pictures.js");
        const photo = { ...state.photo, copies: {} };
        const copy = () => copy_of(photo, 300).then(({ size }) => size, ({ message }) => message);
        const first = await copy();
        HTMLCanvasElement.prototype.toBlob = toBlob;
        return [first, await copy()];
    }""")
    assert re.fullmatch(r"This browser cannot hold a picture of 300 × \d+ pixels; choose a smaller .*", first)
    assert second > 1000


def test_copies_of_one_width_and_another_height_are_two(studio):
    sizes = studio.evaluate("""async () => {
        const { copy_of, draw } = await import("/assets/page/pictures.js");
        const file = await new Promise((resolve) => draw(new OffscreenCanvas(1, 1), 20, 400).toBlob(resolve));
        const photo = { file, name: "tower", width: 20, height: 400, type: "image/png", copies: {} };
        const size = async (longest) => {
            const { width, height } = await createImageBitmap(await copy_of(photo, longest));
            return [width, height];
        };
        return [await size(384), await size(374)];
    }""")
    assert sizes == [[19, 384], [19, 374]]


def test_a_wall_or_photo_that_the_browser_cannot_read_any_more_is_told_in_our_words(page):
    upload_photo(page)
    page.evaluate("""async () => {
        const { state } = await import("/assets/page/state.js");
        const { fill_wall } = await import("/assets/page/wall.js");
        window.createImageBitmap = async () => { throw new DOMException("The source image…", "InvalidStateError"); };
        state.photo.copies = {};
        fill_wall();
    }""")
    expect(page.locator("#style-note")).to_have_text(
        "The gallery cannot show your picture: This browser cannot read the picture; save it as JPEG or PNG."
    )
    page.get_by_role("button", name="Transfer").click()
    expect(page.locator("#result-note")).to_contain_text("This browser cannot read the picture")


def test_without_the_sample_photo_the_page_says_so_and_takes_ones_own(desktop, server):
    page = desktop.new_page()
    page.route("**/sample.jpg*", lambda route: route.abort())
    page.goto(server.url)
    expect(page.locator("#photo-note")).to_contain_text("sample photo could not be loaded")
    page.evaluate("import('/assets/page/wall.js').then(({ fill_wall }) => fill_wall())")
    upload_photo(page, pictures.png(pictures.photo(96, 64)))
    transfer(page)
    page.close()


@pytest.mark.parametrize("size", [(331, 240), (200, 145), (40, 29), (500, 362)])
def test_a_cut_out_has_the_servers_colours_in_the_browser_whatever_is_hidden_under_it(studio, size):
    expected = images.resize_to(images.decode(pictures.cut_out(255), Settings(), "content"), size)
    for hidden in (0, 255):
        made = studio.evaluate(
            """async ({ file, size }) => {
            const { decode, resize_to } = await import("/assets/engines/worker/picture.js");
            const bytes = Uint8Array.from(atob(file), (each) => each.charCodeAt(0));
            return btoa(resize_to(await decode(new Blob([bytes])), ...size).data.reduce(
                (text, byte) => text + String.fromCharCode(byte), ""));
        }""",
            {"file": base64.b64encode(pictures.cut_out(hidden)).decode(), "size": size},
        )
        rgba = np.frombuffer(base64.b64decode(made), np.uint8).reshape(*size[::-1], 4).astype(int)
        assert np.abs(rgba[:, :, 3] - expected.alpha).max() <= 8
        off = np.abs(rgba[:, :, :3] - expected.rgb)
        assert off.mean() < 1 and off.max() <= 8, (hidden, off.mean(), off.max())


@pytest.mark.parametrize("size", [(331, 240), (96, 64), (1000, 620), (9, 3)])
def test_the_browser_lays_on_the_servers_strokes(studio, size):
    photo = pictures.photo(*size)
    made = studio.evaluate(
        """async ({ file, size: [width, height], strokes }) => {
        const { with_brushwork } = await import("/assets/engines/worker/brushwork.js");
        const rgb = Uint8Array.from(atob(file), (each) => each.charCodeAt(0));
        const data = new Uint8ClampedArray(4 * width * height);
        data.forEach((_, at) => data[at] = at % 4 === 3 ? 255 : rgb[3 * Math.floor(at / 4) + at % 4]);
        return btoa(with_brushwork({ width, height, data }, ...strokes).data.reduce(
            (text, byte) => text + String.fromCharCode(byte), ""));
    }""",
        {"file": base64.b64encode(photo.tobytes()).decode(), "size": size, "strokes": (12, 1.5)},
    )
    rgba = np.frombuffer(base64.b64decode(made), np.uint8).reshape(*size[::-1], 4)
    assert pictures.near(rgba[..., :3].copy(), with_brushwork(Picture(photo), 12, 1.5).rgb, levels=0.1)


def test_the_browser_makes_strokes_as_high_for_a_style_as_the_server(studio, stylizer):
    vectors = {name: style.vector.tolist() for name, style in stylizer.gallery.items()}
    found = studio.evaluate(
        """async ([vectors, way]) => {
        const { height_for } = await import("/assets/engines/worker/brushwork.js");
        return Object.fromEntries(Object.entries(vectors).map(([name, vector]) => [name, height_for(vector, way)]));
    }""",
        [vectors, stylizer.roughness.tolist()],
    )
    assert found == {name: stylizer.brush_height(style.vector) for name, style in stylizer.gallery.items()}
    assert len(set(found.values())) > 5
