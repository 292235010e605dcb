"""The command line, run as users run it: what it writes, what it says, and how it exits."""

import json
import socket
import subprocess
import sys

import numpy as np
import pictures
import pytest
from PIL import Image

from stylizer import cli

STYLE = "whirling-night"


def run(*arguments) -> int:
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(pictures.jpeg(pictures.photo(96, 64)))
    return path


def one_line(capsys) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("stylizer: ")
    return lines[0]


def test_one_photo_is_painted_beside_itself_or_where_it_is_told(photo, tmp_path, stylizer):
    assert run("stylize", photo, "--style", STYLE) == 0
    beside = Image.open(tmp_path / "photo-stylised.png")
    assert pictures.near(beside, stylizer.stylize(photo, STYLE))
    assert run("stylize", photo, "--style", STYLE, "--size", 48, "-o", tmp_path / "new" / "small.webp") == 0
    assert Image.open(tmp_path / "new" / "small.webp").size == (48, 32)


def test_styles_are_mixed_by_weight_and_colours_kept(photo, tmp_path, stylizer):
    painting = tmp_path / "painting.png"
    painting.write_bytes(pictures.png(pictures.painting()))
    out = tmp_path / "out.png"
    mixed = ("--style", painting, "--weight", 1, "--style", STYLE, "--weight", 3)
    assert run("stylize", photo, *mixed, "--strength", 0.7, "--keep-colors", "-o", out) == 0
    expected = stylizer.stylize(photo, {str(painting): 1, STYLE: 3}, strength=0.7, keep_colors=True)
    assert pictures.near(Image.open(out), expected)


def test_a_folder_in_gives_a_folder_out_and_one_bad_file_fails_alone(photo, tmp_path, capsys):
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(photo.read_bytes())
    (folder / "a.png").write_bytes(pictures.png(pictures.photo(64, 64)))
    (folder / "broken.jpg").write_bytes(pictures.half_jpeg())
    (folder / "notes.txt").write_text("not a picture, not looked at")
    assert run("stylize", folder, "--style", STYLE, "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "broken.jpg" in said and "1 of 3 pictures failed" in said and "Traceback" not in said
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a-2.png", "a.png"]


def test_a_photo_is_never_written_over(tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.png(pictures.photo()))
    before = (tmp_path / "a.png").read_bytes()
    assert run("stylize", tmp_path, "--style", STYLE, "-o", tmp_path) == 0
    assert (tmp_path / "a.png").read_bytes() == before and (tmp_path / "a-2.png").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--style", "stained-glas"], "did you mean 'stained-glass'"),
        (["--style", STYLE, "--strength", "abc"], "strength is 'abc'"),
        (["--style", STYLE, "--strength", "2"], "strength is 2"),
        (["--style", STYLE, "--size", "tall"], "size is 'tall'"),
        (["--style", STYLE, "--weight", "1", "--weight", "2"], "2 weights came for 1 styles"),
        (["--style", STYLE, "-o", "painted.gif"], ".jpg, .jpeg, .png, .webp"),
        (["--style", "missing.png"], "no such file: missing.png"),
    ],
)
def test_a_callers_mistake_is_one_line_and_exit_status_2(photo, capsys, arguments, says):
    assert run("stylize", photo, *arguments) == 2
    assert says in one_line(capsys)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (pictures.text, "not a picture"), (pictures.svg, "not a picture"), (pictures.half_jpeg, "cut short"),
        (lambda: pictures.png_header(20000, 20000), "20000x20000"), (lambda: b"", "empty"),
        (lambda: pictures.png(pictures.photo(20, 20)), "at least 32"),
    ],
)  # fmt: skip
def test_a_bad_photo_is_one_line_and_exit_status_2(tmp_path, capsys, make, says):
    (tmp_path / "bad.jpg").write_bytes(make())
    assert run("stylize", tmp_path / "bad.jpg", "--style", STYLE) == 2
    assert says in one_line(capsys)


def test_missing_photos_empty_folders_and_one_file_for_many_are_said(photo, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("stylize", tmp_path / "nope.jpg", "--style", STYLE) == 2
    assert "no such file" in one_line(capsys)
    assert run("stylize", tmp_path / "empty", "--style", STYLE) == 2
    assert "no picture in" in one_line(capsys)
    assert run("stylize", photo, photo, "--style", STYLE, "-o", tmp_path / "one.png") == 2
    assert "name a folder" in one_line(capsys)


def test_styles_vector_and_info_print_what_they_say(photo, capsys, stylizer):
    assert run("styles") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(stylizer.gallery) and any("Katsushika Hokusai" in line for line in lines)
    assert run("vector", photo) == 0
    printed = json.loads(capsys.readouterr().out)
    assert np.allclose(printed["vector"], stylizer.style_vector(photo), atol=1e-3)
    assert printed["model"] == stylizer.model
    assert run("info") == 0
    assert "OpenVINO" in capsys.readouterr().out


def test_damaged_weights_stop_every_command_with_one_line(photo, tmp_path, capsys, monkeypatch, settings):
    import shutil

    models = shutil.copytree(settings.models, tmp_path / "models")
    (models / "transformer-separable-decoder.onnx").write_bytes(b"short")
    monkeypatch.setenv("STYLIZER_MODELS", str(models))
    assert run("stylize", photo, "--style", STYLE) == 2
    assert "cut or altered" in one_line(capsys)
    call = [sys.executable, "-m", "stylizer.cli", "serve"]
    served = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert served.returncode == 2 and "cut or altered" in served.stderr and "Traceback" not in served.stderr


def test_stylize_never_imports_torch(photo, tmp_path):
    code = (
        f"import sys; from stylizer.cli import main; main(['stylize', {str(photo)!r}, '--style', {STYLE!r}]);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=300).returncode == 0


def test_a_missing_command_is_answered_with_the_usage(capsys):
    assert run() == 2
    assert "usage: stylizer" in capsys.readouterr().err


def test_a_port_in_use_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run("serve", "--port", taken.getsockname()[1]) == 2
    assert "Address already in use" in one_line(capsys)
