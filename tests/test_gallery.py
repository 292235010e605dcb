"""The gallery's list and vectors: complete, credited and not stale."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from conftest import SHARED
from safetensors.numpy import save

from stylizer import Stylizer, brushwork, weights
from stylizer.errors import UnknownStyle, WeightsError
from stylizer.images import LUMA, Picture, as_picture, resize_shorter
from stylizer.reading import READ_SIDE, read_style
from stylizer.settings import Settings
from stylizer.styles import KINDS, LIST, VECTORS, find, read_gallery, read_list, read_vectors
from stylizer.training import __main__ as command
from stylizer.training import vectors

FOLDER = Settings().styles


def test_the_stored_vectors_are_of_the_space_of_every_shipped_predictor():
    models = Settings().models
    names = [Settings().predictor, *weights.choices(models, "predictor")]
    shipped = [weights.fingerprint(models, f"predictor-{name}.safetensors") for name in dict.fromkeys(names)]
    assert read_vectors(FOLDER).predictors == shipped, (
        "a predictor changed: run `python -m stylizer.training vectors --masters FOLDER`"
    )


def test_a_predictor_is_of_the_space_if_its_pictures_feel_nearly_the_same():
    generator = np.random.default_rng(0)
    heads = generator.normal(size=(100, 300))
    heads[50:] = 0  # half of the numbers change nothing
    made, unrelated = ({name: generator.normal(size=100) for name in "abcdefgh"} for _ in range(2))
    near = {name: vector + unrelated[name] / 4 for name, vector in made.items()}
    alike = {name: np.concatenate([made[name][:50], unrelated[name][50:]]) for name in made}
    explained = {
        name: vectors.explained(given, made, heads)
        for name, given in {"near": near, "alike": alike, "unrelated": unrelated}.items()
    }
    assert explained["alike"] == pytest.approx(1) and 0.85 < explained["near"] < 1 and explained["unrelated"] < 0


def test_every_style_is_credited_and_of_a_known_kind():
    gallery = read_gallery(FOLDER)
    kinds = [style.kind for style in gallery.values()]
    assert kinds.count("original") >= 16 and kinds.count("master") >= 50 and set(kinds) == set(KINDS)
    for style in gallery.values():
        assert style.title and style.artist and style.year and style.vector.shape == (100,)
        assert np.isfinite(style.vector).all() and style.name == style.name.lower()


def test_no_two_styles_share_a_vector():
    stored = np.stack(list(read_vectors(FOLDER).of_styles.values()))
    distances = np.linalg.norm(stored[:, None] - stored[None], axis=2) + np.eye(len(stored)) * 99
    assert distances.min() > 0.1


def test_only_the_originals_pictures_are_in_the_tree():
    pictures = {file.name for file in FOLDER.iterdir() if file.suffix in (".webp", ".jpg", ".jpeg", ".png")}
    assert pictures == {entry["picture"] for entry in read_list(FOLDER) if entry["kind"] == "original"}


def recomputed(entries, masters=None) -> dict:
    stylizer = Stylizer(settings=Settings(device="cpu", precision="f32"))
    return {entry["name"]: stylizer.style_vector(vectors.picture_of(entry, FOLDER, masters)) for entry in entries}


def stored_agree(entries, masters=None) -> None:
    stored = read_vectors(FOLDER).of_styles
    for name, vector in recomputed(entries, masters).items():
        assert np.abs(stored[name] - vector).max() < 5e-3, f"{name} is stale: rebuild the vectors"


@pytest.mark.slow
def test_the_originals_vectors_are_those_of_their_pictures():
    stored_agree([entry for entry in read_list(FOLDER) if entry["kind"] == "original"])


@pytest.mark.skipif(not (SHARED / "data/masters").is_dir(), reason="the masters' pictures are not here")
def test_the_masters_vectors_are_those_of_their_paintings():
    stored_agree([entry for entry in read_list(FOLDER) if entry["kind"] == "master"], SHARED / "data/masters")


def test_what_makes_strokes_broader_is_the_mean_way_from_pictures_seen_small_to_seen_large():
    drawn = [Picture(np.random.default_rng(seed).integers(0, 256, (640, 700, 3), dtype=np.uint8)) for seed in range(3)]

    def grain(square):
        return np.full((1, 100), np.abs(np.diff(square, axis=3)).mean(), np.float32)

    ways = [read_style(grain, picture, 640) - read_style(grain, picture, 320) for picture in drawn]
    found = vectors.coarser(grain, drawn)
    assert found.shape == (100,) and found[0] > 0.05  # noise seen small is averaged away
    assert np.allclose(found, np.mean(ways, axis=0)[0], rtol=1e-4)


@pytest.mark.slow
def test_how_rough_a_painting_is_is_learnt_from_many_and_read_from_a_vector():
    generator = np.random.default_rng(0)

    def drawn(detail: float) -> Picture:
        grain = generator.normal(0, detail, (384, 384, 1)).repeat(3, axis=2)
        return Picture((128 + grain).clip(0, 255).astype(np.uint8))

    def read(square):  # the first number says it, the second is always the same, the others are chance
        vector = generator.normal(size=(1, 100)).astype(np.float32)
        vector[0, :2] = np.log2(1 + 255 * square.std()), 3
        return vector

    way = vectors.way_to_roughness(read, map(drawn, np.linspace(1, 40, 150)))
    assert way.shape == (101,) and way.dtype == np.float32
    for detail in (10, 20, 30):
        picture = drawn(detail)
        found = brushwork.read_roughness(read_style(read, picture)[0], way)
        assert found == pytest.approx(brushwork.roughness(picture.rgb @ LUMA), rel=0.3)


@pytest.mark.parametrize("kind", ["original", "master"])
def test_what_is_stored_says_how_rough_the_gallerys_paintings_are(kind):
    entries = [entry for entry in read_list(FOLDER) if entry["kind"] == kind]
    folder = FOLDER if kind == "original" else SHARED / "data/masters"
    if not folder.is_dir():
        pytest.skip("the masters' pictures are not here")
    stored, settings = read_vectors(FOLDER), Settings(device="cpu")
    pairs = [
        (
            brushwork.read_roughness(stored.of_styles[entry["name"]], stored.roughness),
            brushwork.roughness(
                resize_shorter(as_picture(vectors.picture_of(entry, FOLDER, folder), settings), READ_SIDE).rgb @ LUMA
            ),
        )
        for entry in entries
    ]
    said, measured = np.log2(1 + np.array(pairs)).T
    assert np.corrcoef(said, measured)[0, 1] > (0.8 if kind == "master" else 0.4)


@pytest.mark.slow
def test_what_makes_strokes_broader_is_stored_with_the_gallery():
    settings = Settings(device="cpu", precision="f32")
    found = vectors.coarser(Stylizer(settings=settings).runtime.predict, vectors.originals(settings))
    assert np.abs(found - read_vectors(FOLDER).coarser).max() < 5e-3, "it is stale: rebuild the vectors"


def copy_of_the_gallery(folder):
    """List, vectors and checksum: what a gallery is read from."""
    folder.mkdir(exist_ok=True)
    for name in (LIST, VECTORS, weights.CHECKSUMS):
        shutil.copy(FOLDER / name, folder)
    return folder


def refused(folder, *words) -> None:
    with pytest.raises(WeightsError) as caught:
        read_gallery(folder)
    assert all(word in str(caught.value) for word in (*words, str(folder))) and "\n" not in str(caught.value)


def test_one_bit_of_the_vectors_changed_is_refused(tmp_path):
    folder = copy_of_the_gallery(tmp_path / "styles")
    assert list(read_gallery(folder)) == list(read_gallery(FOLDER))
    data = bytearray((folder / VECTORS).read_bytes())
    data[-100] ^= 1
    (folder / VECTORS).write_bytes(data)
    refused(folder, "truncated or altered", weights.CHECKSUMS)


@pytest.mark.parametrize("name", [LIST, VECTORS, weights.CHECKSUMS])
def test_a_file_of_the_gallery_that_is_missing_a_folder_or_no_text_is_named(tmp_path, name):
    folder = copy_of_the_gallery(tmp_path / "styles")
    (folder / name).write_bytes(b"\xff\xfe\x00\x9d" * 100)
    refused(folder, name)
    (folder / name).unlink()
    refused(folder, name, "missing")
    (folder / name).mkdir()
    refused(folder, name)


@pytest.mark.parametrize("vector", [np.zeros(99), np.zeros((100, 2)), np.full(100, np.nan), np.full(100, 1e9)])
def test_stored_vectors_of_another_shape_or_without_numbers_are_named_though_their_checksum_is_right(tmp_path, vector):
    folder = copy_of_the_gallery(tmp_path / "styles")
    stored, _ = weights.parse((folder / VECTORS).read_bytes())
    data = save({**stored, "kintsugi": vector.astype(np.float32)})
    (folder / VECTORS).write_bytes(data)
    (folder / weights.CHECKSUMS).write_text(f"{hashlib.sha256(data).hexdigest()}  {VECTORS}\n")
    refused(folder, "kintsugi", "style vector")


ENTRY = {"name": "kintsugi", "title": "T", "artist": "A", "year": "1889", "kind": "master"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "style 1 has the name None"),
        ({"name": 7}, "has the name 7"),
        ({"name": ""}, "has the name"),
        ({"name": "a/b"}, "without /"),
        ({"name": "x" * 101}, "has the name"),
        ({"title": None}, "the title None"),
        ({"artist": 7}, "the artist 7"),
        ({"year": [1889]}, "the year"),
        ({"year": None}, "the year None"),
        ({"kind": "copy"}, "original, master"),
        ({"kind": None}, "the kind None"),
        ({"kind": "original"}, "the picture None"),
        ({"kind": "original", "picture": "../secret.png"}, "the picture"),
    ],
)
def test_an_entry_that_lacks_something_is_named_by_its_place(tmp_path, change, words):
    folder = copy_of_the_gallery(tmp_path / "styles")
    entry = {key: value for key, value in {**ENTRY, **change}.items() if value is not None}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in entry.items())
    (folder / LIST).write_text(f"[[style]]\n{lines}\n")
    refused(folder, words)


@pytest.mark.parametrize("text", ["", "style = 3", "style = []", "style = ['a']", "[style]\nname = 'a'", "[[style"])
def test_a_list_that_holds_no_styles_is_refused(tmp_path, text):
    folder = copy_of_the_gallery(tmp_path / "styles")
    (folder / LIST).write_text(text)
    refused(folder, LIST)


def test_years_may_be_numbers(tmp_path):
    folder = copy_of_the_gallery(tmp_path / "styles")
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in {**ENTRY, "year": 1889}.items())
    (folder / LIST).write_text(f"[[style]]\n{lines}\n")
    assert read_gallery(folder)["kintsugi"].year == "1889"


def test_a_damaged_study_in_the_gallery_is_named(tmp_path):
    folder = copy_of_the_gallery(tmp_path / "styles")
    (folder / "studies").mkdir()
    (folder / "studies" / "own.study.safetensors").write_bytes(b"\x10" + bytes(7) + b"{" + bytes(100))
    refused(folder, "own.study.safetensors", "truncated or altered")


def test_a_name_of_any_length_is_refused_at_once_and_shown_short():
    with pytest.raises(UnknownStyle) as caught:
        find(read_gallery(FOLDER), "a" * 10**6)
    assert "(1000000 characters)" in str(caught.value) and len(str(caught.value)) < 3000


def test_rebuilding_without_the_masters_says_what_is_needed(capsys):
    before = (FOLDER / "vectors.safetensors").read_bytes()
    assert command.main(["vectors"]) == 2
    assert "--masters" in capsys.readouterr().err
    assert (FOLDER / "vectors.safetensors").read_bytes() == before


@pytest.mark.slow
def test_a_predictor_that_was_distilled_shows_the_same_gallery(tmp_path, monkeypatch, capsys):
    """A second predictor, nearly the first, and a gallery of two styles that this project drew."""
    torch = pytest.importorskip("torch")
    from stylizer.training.export import write_checksums
    from stylizer.training.pairs import load_networks, save_network

    others = shutil.ignore_patterns("*inception*", "*plain*")
    models = shutil.copytree(Settings().models, tmp_path / "models", ignore=others)
    predictor = load_networks([models / "predictor-mobilenet-v2.safetensors"])["predictor"]
    with torch.no_grad():
        predictor.to_vector.bias += 1e-3
    save_network(predictor, models / "predictor-second.safetensors")
    shutil.copy(models / "predictor-mobilenet-v2.onnx", models / "predictor-second.onnx")
    write_checksums(models)
    entries = [entry for entry in read_list(FOLDER) if entry["kind"] == "original"][:2]
    styles = tmp_path / "styles"
    styles.mkdir()
    tables = [[f"{key} = {json.dumps(value)}" for key, value in entry.items() if key != "study"] for entry in entries]
    (styles / "styles.toml").write_text("\n".join("\n".join(["[[style]]", *lines]) for lines in tables))
    for entry in entries:
        shutil.copy(FOLDER / entry["picture"], styles)
    monkeypatch.setenv("STYLIZER_MODELS", str(models))
    monkeypatch.setenv("STYLIZER_STYLES", str(styles))
    assert command.main(["vectors"]) == 0 and "predictor-second explains 100%" in capsys.readouterr().out
    assert weights.fingerprint(models, "predictor-second.safetensors") in read_vectors(styles).predictors
    for name in ("mobilenet-v2", "second"):
        gallery = Stylizer(settings=Settings(device="cpu", models=models, styles=styles, predictor=name)).gallery
        assert list(gallery) == [entry["name"] for entry in entries]
