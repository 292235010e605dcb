"""The wall, the search in it, and own styles, in a real browser."""

import base64
import re

import numpy as np
import pictures
from browsing import choose, decoded, difference, expect, settle, shown, tile, transfer, until, upload, upload_photo


def test_the_wall_shows_the_users_photo_in_every_style_what_is_on_the_screen_first(page, server, stylizer):
    sample = page.locator(".tiles img[src*='sample.webp']").count()
    assert 0 < sample < len(server.gallery)  # the tiles of the sample are ready-made, and loaded when seen
    assert server.walls == []
    upload_photo(page, pictures.png(pictures.photo(300, 300)))
    expect(page.locator(".tiles img.waiting")).to_have_count(0, timeout=60_000)
    assert page.locator(".tiles img[src^='data:image/webp']").count() == len(server.gallery)
    (wall,) = server.walls
    assert set(wall["names"]) == set(server.gallery) and set(wall["names"][:2]) <= set(list(server.gallery)[:12])
    assert decoded(wall["content"]).shape == (120, 180, 3)  # cut to the tiles' shape
    painted = tile(page, "kintsugi").get_attribute("src").partition(",")[2]
    small = decoded(wall["content"])
    assert difference(decoded(base64.b64decode(painted)), np.asarray(stylizer.stylize(small, "kintsugi"))) < 12


def test_another_photo_starts_the_wall_anew_and_ends_the_one_under_way(page, server, stylizer):
    upload_photo(page, pictures.png(pictures.photo(300, 200)), "first.png")
    upload_photo(page, pictures.png(255 - pictures.photo(300, 200)), "second.png")
    until(page, lambda: len(server.walls) == 2)
    expect(page.locator(".tiles img.waiting")).to_have_count(0, timeout=60_000)
    painted = decoded(base64.b64decode(tile(page, "batik").get_attribute("src").partition(",")[2]))
    second, first = (np.asarray(stylizer.stylize(decoded(wall["content"]), "batik")) for wall in server.walls[::-1])
    assert difference(painted, second) < 12 < difference(painted, first)


def test_an_own_style_gets_a_tile_of_the_wall(page, server, stylizer):
    upload(page, "Style picture", pictures.png(pictures.painting(300, 260)), "grandmother.png")
    expect(tile(page, "own-1")).to_have_attribute("src", re.compile("^data:image/webp"))
    assert [len(wall["vectors"]) for wall in server.walls] == [1] and server.walls[0]["names"] == []
    upload_photo(page)
    expect(page.locator(".tiles img.waiting")).to_have_count(0, timeout=60_000)
    assert [len(wall["vectors"]) for wall in server.walls[1:]] == [1, 0]  # own ones first, then the gallery
    assert [len(wall["names"]) for wall in server.walls[1:]] == [0, len(server.gallery)]


def test_a_wall_that_cannot_be_painted_leaves_the_sample_there_and_says_so(open_page):
    page = open_page()
    page.route("**/api/v1/wall", lambda route: route.fulfill(status=422, json={"detail": "no room for tiles"}))
    upload_photo(page)
    expect(page.locator("#style-note")).to_contain_text("No room for tiles")
    expect(page.locator(".tiles img.waiting")).to_have_count(0)
    assert "sample.webp" in tile(page, "whirling-night").get_attribute("src")


def test_the_search_filters_by_title_artist_and_year_and_says_how_many_match(page, server):
    search, count = page.get_by_role("searchbox", name="Search styles"), page.locator("#search-count")
    assert count.inner_text() == ""
    search.fill("gogh 1889")
    expect(count).to_have_text(re.compile(rf"^\d of {len(server.gallery)} styles$"))
    seen = page.locator(".tiles .form-check:visible")
    for words in seen.all_inner_texts():
        assert "Gogh" in words and "1889" in words
    assert page.get_by_role("heading", name="Originals").is_hidden()
    search.press("Enter")  # takes the first match
    chosen = page.get_by_role("radio", checked=True)
    expect(chosen).to_be_focused()
    assert chosen.get_attribute("value") == seen.first.locator("input").get_attribute("value")
    search.fill("durer")  # without the accent that few keyboards have
    expect(seen.first).to_contain_text("Dürer")
    search.fill("no such style")
    expect(count).to_have_text("No style matches")
    search.fill("")
    expect(seen).to_have_count(len(server.gallery))


# Own styles -----------------------------------------------------------------------------------------------------------


def test_an_own_style_becomes_a_chosen_tile_and_is_sent_once(page, server):
    upload_photo(page)
    upload(page, "Style picture", pictures.png(pictures.painting(300, 260)), "grandmother.png")
    expect(page.get_by_role("radio", name="grandmother")).to_be_checked()
    assert page.get_by_role("radio", checked=True).count() == 1
    transfer(page)
    first = shown(page)
    page.get_by_label("Strength").fill("0.2")
    until(page, lambda: server.full()[-1]["strength"] == "0.2")
    settle(page)
    assert difference(shown(page), first) > 1
    for painting in server.paintings:
        assert painting["files"] == ["content"]
        assert painting["style_vector"].count(",") == 99
    upload(page, "Style picture", pictures.png(pictures.painting(300, 260, seed=5)), "uncle.png")
    expect(page.get_by_role("radio", name="uncle")).to_be_checked()
    choose(page.get_by_role("radio", name="grandmother"))
    assert page.get_by_role("radio", checked=True).count() == 1


def test_files_may_be_dropped_paintings_on_the_gallery_and_photos_anywhere_else(page):
    for place, data, name in (
        (".gallery", pictures.painting(64, 64), "poster"),
        ("#result-frame", pictures.photo(160, 104), "street"),
    ):
        files = page.evaluate_handle(
            """([data, name]) => {
            const files = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
            files.items.add(new File([bytes], name, { type: "image/png" }));
            return files;
        }""",
            [base64.b64encode(pictures.png(data)).decode(), f"{name}.png"],
        )
        page.dispatch_event(place, "dragover", {"dataTransfer": files})
        page.dispatch_event(place, "drop", {"dataTransfer": files})
    expect(page.get_by_role("radio", name="poster")).to_be_checked()
    expect(page.locator("#photo-caption")).to_contain_text("street, 160 × 104 px")
