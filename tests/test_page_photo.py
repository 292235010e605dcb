"""Photos that come by other ways than the file dialog: pasted, from the camera, in two tabs; in a real browser."""

import base64

import numpy as np
import pictures
from browsing import decoded, difference, expect, shown, state, transfer, until, upload_photo

PASTE = """([data, type, text]) => {
    const clipboardData = new DataTransfer();
    const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
    if (type) clipboardData.items.add(new File([bytes], "image.png", { type }));
    if (text) clipboardData.setData("text/plain", text);
    document.activeElement.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
}"""


def test_a_picture_pasted_anywhere_becomes_the_photo(page, server):
    data = pictures.png(pictures.photo(160, 104, seed=4))
    page.evaluate(PASTE, [base64.b64encode(data).decode(), "image/png", ""])
    expect(page.locator("#photo-caption")).to_contain_text("pasted, 160 × 104 px")
    page.get_by_role("searchbox").focus()
    page.evaluate(PASTE, ["", "", "just words"])
    expect(page.locator("#photo-caption")).to_contain_text("pasted")
    transfer(page)
    assert difference(decoded(server.full()[-1]["content"]), pictures.photo(160, 104, seed=4)) < 4


def camera_tracks(page) -> list[str]:
    return page.evaluate("(window.tracks ?? []).map((track) => track.readyState)")


def test_the_camera_starts_on_a_click_shows_a_mirror_takes_a_true_photo_and_stops(open_page):
    page = open_page(permissions=["camera"])
    page.evaluate("""() => {
        const { mediaDevices } = navigator, ask = mediaDevices.getUserMedia.bind(mediaDevices);
        mediaDevices.getUserMedia = async (wish) => {
            const stream = await ask(wish);
            window.tracks = [...window.tracks ?? [], ...stream.getTracks()];
            return stream;
        };
    }""")
    dialog, video = page.get_by_role("dialog", name="Camera"), page.locator("#camera video")
    assert camera_tracks(page) == []
    page.get_by_role("button", name="Camera").click()
    take = page.get_by_role("button", name="Take photo")
    expect(take).to_be_enabled()
    assert camera_tracks(page) == ["live"]
    assert "mirrored" in video.get_attribute("class")
    assert video.evaluate("(each) => getComputedStyle(each).transform").startswith("matrix(-1")
    still = video.evaluate("""(each) => {
        each.pause();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [each.videoWidth, each.videoHeight];
        canvas.getContext("2d").drawImage(each, 0, 0);
        return canvas.toDataURL("image/png");
    }""")
    seen = decoded(base64.b64decode(still.partition(",")[2]))
    take.click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#photo-caption")).to_contain_text("camera")
    assert camera_tracks(page) == ["ended"]
    taken = state(page, "[...new Uint8Array(await state.photo.file.arrayBuffer())]")
    assert difference(decoded(bytes(taken)), seen) < difference(decoded(bytes(taken)), seen[:, ::-1])
    page.get_by_role("button", name="Camera").click()
    expect(take).to_be_enabled()
    page.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    assert camera_tracks(page) == ["ended", "ended"]
    page.get_by_role("button", name="Camera").click()
    expect(take).to_be_enabled()
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", { value: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }""")
    expect(dialog).to_be_hidden()
    assert camera_tracks(page)[-1] == "ended"


def test_a_camera_that_may_not_be_used_is_told_in_words(open_page):
    page = open_page(permissions=[])
    page.evaluate("""() => {
        navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };
    }""")
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#photo-note")).to_contain_text("not allowed to use the camera")
    expect(page.get_by_role("dialog", name="Camera")).to_be_hidden()


def test_two_tabs_hold_two_photos(open_page, server):
    pages, sizes = [open_page(), open_page()], [(104, 160), (144, 96)]
    for page, (height, width), name in zip(pages, sizes, ("harbour.png", "tower.png"), strict=True):
        upload_photo(page, pictures.png(pictures.photo(width, height)), name)
    for page in pages:
        page.bring_to_front()
        transfer(page)
    for page, size in zip(pages, sizes, strict=True):
        assert shown(page).shape == (*size, 3)
        page.bring_to_front()
        page.get_by_label("Strength").fill("0.3")
        until(page, lambda size=size: decoded(server.full()[-1]["answer"]).shape == (*size, 3))
        until(page, lambda page=page: np.array_equal(shown(page), decoded(server.full()[-1]["answer"])))
