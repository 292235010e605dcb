"""Hostile and odd files: each gets its exact answer, and none costs more than an honest picture of 50 megapixels."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import hostile
import pytest

ROOT = Path(__file__).parents[1]
SECONDS, BYTES = 2, 300e6  # of CPU, and growth of memory, the most that a file may cost
# images.py silences Pillow's warnings about metadata; pytest sets its own filters over those.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning:PIL"), pytest.mark.slow]
SLOW = 4  # how many times slower than ours another machine may be


@pytest.fixture(scope="module")
def judged() -> list[dict]:
    """What came of each file, in a process of its own, whose peak of memory is then the decoders'."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    result = subprocess.run(
        [sys.executable, hostile.__file__],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.slow
def test_every_hostile_or_odd_file_gets_its_exact_answer(judged):
    assert len({each["name"] for each in judged}) == len(judged) >= 200
    wrong = {each["name"]: (each["answer"], each["wanted"]) for each in judged if each["answer"] != each["wanted"]}
    assert wrong == {}


def test_no_file_costs_more_time_than_an_honest_one(judged):
    slowest = max(judged, key=lambda each: each["seconds"])
    assert slowest["seconds"] < SLOW * SECONDS, slowest


def test_no_file_costs_more_memory_than_an_honest_one(judged):
    """The peak over all of them bounds each; a fifth more, because freed memory is not always used again."""
    assert sum(each["growth"] for each in judged) < 1.2 * BYTES, max(judged, key=lambda each: each["growth"])


def test_mutated_pictures_become_pictures_or_our_own_errors_and_nothing_else():
    """A slice of `python -m benchmarks.fuzz`, which runs as long as it is told."""
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "benchmarks" / "fuzz.py")
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    fuzz.SECONDS *= SLOW
    answers, failures = fuzz.run(lambda count: count >= 2_000, seed=7)
    assert failures == []
    assert min(answers["picture"], answers["BrokenPicture"], answers["PictureOutOfBounds"]) > 50, answers
