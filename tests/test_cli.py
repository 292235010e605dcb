"""The command line, run as users run it: what it writes, what it says, and how it exits."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pictures
import pytest
from PIL import Image

from stylizer import cli
from stylizer.files import write_whole
from stylizer.progress import Progress

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
    assert run("stylize", photo, *mixed, "--strength", 0.7, "--keep-colors", "--keep-light", "-o", out) == 0
    expected = stylizer.stylize(photo, {str(painting): 1, STYLE: 3}, strength=0.7, keep_colors=True, keep_light=True)
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
        (["--style", STYLE, "--weight", "1", "--weight", "2"], "2 weights for 1 styles"),
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
        (pictures.text, "not a picture"),
        (pictures.svg, "not a picture"),
        (pictures.half_jpeg, "truncated"),
        (lambda: pictures.png_header(20000, 20000), "20000x20000"),
        (lambda: b"", "empty"),
        (lambda: pictures.png(pictures.photo(20, 20)), "at least 32"),
    ],
)
def test_a_bad_photo_is_one_line_and_exit_status_2(tmp_path, capsys, make, says):
    (tmp_path / "bad.jpg").write_bytes(make())
    assert run("stylize", tmp_path / "bad.jpg", "--style", STYLE) == 2
    assert says in one_line(capsys)


def test_missing_photos_empty_folders_and_one_file_for_many_are_said(photo, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("stylize", tmp_path / "nope.jpg", "--style", STYLE) == 2
    assert "no such file" in one_line(capsys)
    assert run("stylize", tmp_path / "empty", "--style", STYLE) == 2
    assert "no supported picture in" in one_line(capsys)
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
    assert "truncated or altered" in one_line(capsys)
    call = [sys.executable, "-m", "stylizer", "serve"]
    served = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert served.returncode == 2 and "truncated or altered" in served.stderr and "Traceback" not in served.stderr


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


# Many pictures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path):
    """Four small photos in a folder."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(pictures.png(pictures.photo(64, 48, seed=number)))
    return folder


@pytest.mark.slow
def test_what_is_there_already_is_skipped_where_that_is_asked_for(album, tmp_path, capsys):
    out = tmp_path / "out"
    again = ("stylize", album, "--style", STYLE, "-o", out, "--skip-existing")
    assert run(*again) == 0 and capsys.readouterr().err == ""
    (out / "3.png").unlink()
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert run(*again) == 0
    assert one_line(capsys) == "stylizer: 3 of 4 pictures already exist"
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir() if file.name in before} == before
    assert Image.open(out / "3.png").size == (64, 48)
    assert run(*again) == 0 and "4 of 4" in one_line(capsys)
    assert run(*again[:-1]) == 0  # without the word all are painted anew
    assert all((out / name).stat().st_mtime_ns > time for name, time in before.items())


@pytest.mark.slow
def test_a_run_that_is_interrupted_leaves_whole_pictures_and_goes_on_from_there(tmp_path):
    album, out = tmp_path / "album", tmp_path / "out"
    album.mkdir()
    for number in range(60):
        (album / f"{number:02}.png").write_bytes(pictures.png(pictures.photo(400, 300, seed=number)))
    command = [sys.executable, "-m", "stylizer", "stylize", album, "--style", STYLE, "-o", out]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs in the background ignores it
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    end = time.monotonic() + 120
    while not (out.is_dir() and len(list(out.glob("*.png"))) >= 2) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    # On a slow machine a line of progress came before it.
    assert process.returncode == 130 and said.splitlines()[-1] == "stylizer: interrupted" and "Traceback" not in said
    painted = sorted(out.iterdir())
    assert 2 <= len(painted) < 60
    for file in painted:  # none of them half, and nothing beside them
        Image.open(file).load()
        assert file.suffix == ".png"


def test_a_picture_is_put_in_place_when_it_is_whole(tmp_path, monkeypatch):
    target = tmp_path / "new" / "painted.png"
    write_whole(target, b"first")
    assert target.read_bytes() == b"first" and target.stat().st_mode & 0o777 == 0o666 & ~umask()
    link = tmp_path / "link.png"
    link.symlink_to(target)
    write_whole(link, b"second")
    assert link.is_symlink() and target.read_bytes() == b"second"

    def full(*_paths) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(target, b"third")
    assert target.read_bytes() == b"second" and [file.name for file in target.parent.iterdir()] == ["painted.png"]


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_pictures_of_kinds_that_are_not_read_are_counted_by_kind(album, tmp_path, capsys):
    for name in ("a.heic", "b.HEIC", "c.nef", "notes.txt"):
        (album / name).write_bytes(b"whatever")
    assert run("stylize", album, "--style", STYLE, "-o", tmp_path / "out") == 0
    assert f"stylizer: skipped in {album}: 2 .heic, 1 .nef (unsupported formats; save" in one_line(capsys)
    assert len(list((tmp_path / "out").iterdir())) == 4
    for file in album.glob("*.png"):
        file.unlink()
    assert run("stylize", album, "--style", STYLE) == 2
    assert f"no supported picture in {album} (there are 2 .heic, 1 .nef)" in one_line(capsys)


# What is said, and to whom ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_every_command_writes_whatever_stdout_can_take(encoding, tmp_path):
    environ = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "stylizer"]
    done = subprocess.run([*command, "styles"], capture_output=True, env=environ, timeout=60)
    assert done.returncode == 0 and done.stderr == b""
    title = "Matsushima in Ōshū Province" if encoding == "utf-8" else "Matsushima in \\u014csh\\u016b Province"
    assert title in done.stdout.decode(encoding)
    missing = subprocess.run([*command, "vector", "写真.png"], capture_output=True, env=environ, timeout=60)
    assert missing.returncode == 2 and b"no such file" in missing.stderr and b"Traceback" not in missing.stderr


class Clock:
    """Time as the test tells it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("stylizer.progress.time.monotonic", lambda: self.now)


def test_long_work_says_a_plain_line_now_and_then_where_nobody_looks(capsys, monkeypatch):
    clock = Clock(monkeypatch)
    with Progress("step", 100) as progress:
        for step in range(1, 101):
            clock.now = 3.0 * step
            progress.to(step, words="total 0.31")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "stylizer: 4 of 100 steps, about 5 min left, total 0.31"  # after ten seconds
    assert lines[1] == "stylizer: 14 of 100 steps, about 4 min left, total 0.31"  # and after a tenth more
    assert 8 <= len(lines) <= 11 and not set("".join(lines)) & set("\r\x1b\b")


def test_slow_work_says_a_line_a_minute_and_quick_work_none(capsys, monkeypatch):
    clock = Clock(monkeypatch)
    with Progress("step", 1000) as progress:
        for step in range(1, 40):
            clock.now = 5.0 * step
            progress.to(step)
    assert len(capsys.readouterr().err.splitlines()) == 4
    with Progress("picture", 1000) as progress:
        for done in range(1, 1001):
            clock.now += 0.009
            progress.to(done)
    assert capsys.readouterr().err == ""


def test_a_download_is_told_in_megabytes(capsys, monkeypatch):
    clock = Clock(monkeypatch)
    with Progress("B", 528_000_000, "network") as progress:
        clock.now = 20
        progress.to(132_000_000)
    assert capsys.readouterr().err == "stylizer: network: 132 of 528 MB, about 60 s left\n"


@pytest.mark.slow
def test_a_study_says_how_far_it_is_where_stderr_is_no_terminal(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("stylizer.progress.LINE_SECONDS", 0.0)
    painting = tmp_path / "painting.png"
    painting.write_bytes(pictures.png(pictures.painting(96, 96)))
    photos = ("--photos", painting)
    target = tmp_path / "painting.study.safetensors"
    assert run("study", painting, "--steps", 3, "--size", 64, "-o", target, *photos) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith("stylizer: ") for line in lines) and "1 of 3 steps" in lines[0]
    assert "content" in lines[0] and "\r" not in "".join(lines)
