"""`stylizer doctor`: what it finds on this machine, and on one where something is wrong."""

import json
import shutil
import socket

import numpy as np
import pytest
from serving import Served

from stylizer import cli, doctor


@pytest.fixture(scope="module")
def report():
    """Of this machine as it is."""
    return doctor.examine({"STYLIZER_PORT": str(free_port())})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def found(report, topic: str) -> doctor.Finding:
    """The first finding of that topic."""
    return next(each for each in report.findings if each.topic == topic)


@pytest.fixture
def quick(monkeypatch):
    """Without the painting, which takes seconds and finds the same each time."""
    monkeypatch.setattr(doctor, "_painting", lambda _settings, _report: iter(()))


@pytest.mark.slow
def test_a_machine_that_paints_is_well_and_every_topic_has_its_line(report):
    wrong = [finding for finding in report.findings if finding.good is False and finding.topic != "torch"]
    assert wrong == []
    topics = [finding.topic for finding in report.findings]
    for topic in (
        "settings",
        "python",
        "packages",
        "processor",
        "precision",
        "memory",
        "weights",
        "gallery",
        "torch",
        "CUDA",
        "browser",
        "cache",
        "address",
        "painting",
        "speed",
    ):
        assert topic in topics, topic
    assert "STYLIZER_PORT" in found(report, "settings").words
    assert "checksums match" in found(report, "weights").words and "82 styles" in found(report, "gallery").words


@pytest.mark.slow
def test_how_fast_it_paints_is_measured_and_larger_pictures_take_longer(report):
    assert report.megapixels_a_second > 0
    assert list(report.seconds) == ["512", "1024", "2048"]
    assert report.seconds["2048"] == pytest.approx(16 * report.seconds["512"], rel=0.1, abs=0.1)
    assert "megapixels per second: a photo of 512 px in" in found(report, "speed").words


def test_it_is_read_by_people_and_by_programs_whatever_stdout_can_write(report):
    lines = report.as_text("utf-8").splitlines()
    assert lines[0].startswith("✓ settings") and len(lines) == len(report.findings) + 2
    for encoding in ("cp1252", "ascii", None):
        assert report.as_text(encoding).splitlines()[0].startswith("ok settings")
    told = json.loads(report.as_json())
    assert told["good"] == report.good and told["findings"][0]["topic"] == "settings"
    assert told["seconds"].keys() == report.seconds.keys() and told["version"]


def test_what_is_wrong_is_told_with_a_cross_and_exit_status_1(quick, tmp_path, monkeypatch, capsys, settings):
    models = shutil.copytree(settings.models, tmp_path / "models")
    (models / "transformer-separable-decoder.onnx").write_bytes(b"short")
    (models / "predictor-mobilenet-v2.safetensors").unlink()  # of which serving has no need
    monkeypatch.setenv("STYLIZER_MODELS", str(models))
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("STYLIZER_STYLES", str(tmp_path / "nothing"))
    assert cli.main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    wrong = {each["topic"]: each["words"] for each in told["findings"] if each["good"] is False}
    assert "decoder.onnx was truncated or altered" in wrong["weights"] and "nothing" in wrong["gallery"]
    missing = [each["words"] for each in told["findings"] if each["topic"] == "weights" and each["good"] is None]
    assert missing == ["missing, but not needed to paint: predictor-mobilenet-v2.safetensors"]


def test_a_setting_that_does_not_hold_is_a_line_and_the_rest_is_looked_at(quick, monkeypatch, capsys):
    monkeypatch.setenv("STYLIZER_SLOTS", "two")
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "STYLIZER_SLOTS is 'two'" in lines[0] and any("checksums match" in line for line in lines)
    assert lines[-1].startswith("Some checks failed")


def test_a_check_that_breaks_is_a_finding_and_not_the_end(quick, monkeypatch):
    def broken(_settings):
        yield doctor.Finding("memory", True, "first")
        raise RuntimeError("no such file\nand more")

    monkeypatch.setattr(doctor, "_memory", broken)
    report = doctor.examine({})
    words = [finding.words for finding in report.findings if finding.topic == "memory"]
    assert words == ["first", "the check failed: RuntimeError: no such file"] and not report.good


@pytest.mark.slow
def test_a_port_that_is_taken_is_told_and_one_where_stylizer_serves_is_fine(app):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (finding,) = doctor._address(doctor.Settings(port=taken.getsockname()[1]))
        assert finding.good is False and "STYLIZER_PORT" in finding.words
    with Served(app.server) as server:
        (finding,) = doctor._address(doctor.Settings(port=server.port))
    assert finding.good and "is serving" in finding.words


def test_what_is_not_there_and_not_needed_is_told_without_a_cross(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_version", lambda _package: None)
    (torch,) = doctor._torch(doctor.Settings())
    assert torch.good is None and "no Classic" in torch.words and "stylizer[torch]" in torch.words
    (browser,) = doctor._browser(doctor.Settings(browser_runtime=tmp_path))
    assert browser.good is None and "npm" in browser.words
    (packages,) = doctor._packages(doctor.Settings())
    assert packages.good is False and "openvino is missing: pip install 'openvino>=" in packages.words


@pytest.mark.parametrize(
    ("version", "wanted", "good"),
    [
        ("2.11.0+cpu", ">=2.11,!=2.13.0,<3", True),
        ("2.13.0", ">=2.11,!=2.13.0,<3", False),
        ("2.13.1", ">=2.11,!=2.13.0,<3", True),
        ("3.0", "<3,>=2.11", False),
        ("3.11.7", ">=3.11", True),
        ("3.9.18", ">=3.11", False),
        ("2026.10", ">=2026.2,<2027", True),
        ("1.0rc1", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version, wanted, good):
    assert doctor.fits(version, wanted) is good


def test_requirements_are_read_as_the_project_and_as_an_installed_package_write_them():
    lines = ["dash[compress]>=4.4.1,<5", "flask<4,>=3.1", 'torch!=2.13.0,<3,>=2.11; extra == "torch"']
    assert doctor._requirements(lines) == {
        "dash": ">=4.4.1,<5",
        "flask": "<4,>=3.1",
        "torch": "!=2.13.0,<3,>=2.11",
    }


def test_what_is_painted_for_the_trial_is_another_picture_each_turn():
    one, other = (doctor._drawn(64, turn) for turn in (0, 1))
    assert one.shape == (64, 64, 3) and one.dtype == np.uint8 and not np.array_equal(one, other)
