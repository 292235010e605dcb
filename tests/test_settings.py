"""Settings and the numbers of callers: each with its type, its bounds and its words, wherever it is given."""

import runpy
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from stylizer import Stylizer, runtimes
from stylizer.errors import ParameterError, WeightsError, shown
from stylizer.parameters import (
    STYLE_SCALES,
    VECTOR_BOUND,
    WEIGHT_BOUND,
    boolean,
    check_size,
    check_strength,
    check_style_scale,
    check_vector,
    check_weights,
)
from stylizer.settings import Choice, Deployment, Folder, Number, Settings, Switch, Text, Whole
from stylizer.web import create_app

ROOT = Path(__file__).parents[1]
EVERY = [(cls, name, each) for cls in (Settings, Deployment) for name, each in cls.variables().items()]
TYPES = {Whole: int, Number: float, Switch: bool, Choice: str, Text: str, Folder: Path}
# What no setting of the kind may be, as a variable and as a value in Python.
WRONG = {
    Whole: ["abc", "1.5", "1e3", "1_0", "٦٤", "-1", "9" * 30, "nan", "inf", "true", True, None, 2.0, float("nan"), -1],
    Number: ["abc", "1_0", "٦٤", "-1", "1e400", "nan", "inf", "-inf", "0x10", True, None, float("nan"), float("inf")],
    Switch: ["perhaps", "2", "nan", 1, 0.0, None],
    Choice: ["abc", "CPU ", "-1", None, True, 0],
    Text: ["ä", "a b", "-1/..", "x" * 300, "a\n", None, 1],
    Folder: ["/no/such/folder/at/all", str(Path(__file__)), None, 1],
}


def named(error: ParameterError, name: str) -> str:
    words = str(error)
    assert error.field == name and words.startswith(name) and "\n" not in words and len(words) < 400
    return words


@pytest.mark.parametrize(("cls", "variable", "each"), EVERY, ids=[name for _, name, _ in EVERY])
def test_every_setting_has_a_type_a_range_and_a_reason(cls, variable, each):
    kind, reason = each.metadata["kind"], each.metadata["reason"]
    assert each.type is TYPES[type(kind)] and len(reason) > 5 and kind.words()
    value = getattr(cls(), each.name)
    assert isinstance(value, each.type) and kind.check(each.name, value) == value
    text = str(value).lower() if each.type is bool else str(value)
    assert getattr(cls.from_env({variable: text}), each.name) == value


@pytest.mark.parametrize(("cls", "variable", "each"), EVERY, ids=[name for _, name, _ in EVERY])
def test_a_setting_out_of_bounds_is_refused_in_one_line_that_says_what_is_allowed(cls, variable, each):
    kind = each.metadata["kind"]
    for value in WRONG[type(kind)]:
        if isinstance(kind, Folder) and not kind.must_exist and value == WRONG[Folder][0]:
            continue
        with pytest.raises(ParameterError) as caught:
            cls(**{each.name: value})
        assert kind.words() in named(caught.value, each.name) or "choose from" in str(caught.value)
        if isinstance(value, str):
            with pytest.raises(ParameterError) as caught:
                cls.from_env({variable: value})
            named(caught.value, variable)
    for empty in ("", "  "):
        with pytest.raises(ParameterError, match="is empty; unset it") as caught:
            cls.from_env({variable: empty})
        named(caught.value, variable)


@pytest.mark.parametrize(("cls", "variable", "each"), EVERY, ids=[name for _, name, _ in EVERY])
def test_a_number_may_be_its_bounds_and_nothing_beyond(cls, variable, each):
    kind = each.metadata["kind"]
    if isinstance(kind, (Whole, Number)):
        for bound, beyond in ((kind.smallest, kind.smallest - 1), (kind.largest, kind.largest + 1)):
            assert kind.check(variable, str(bound)) == bound
            with pytest.raises(ParameterError):
                kind.check(variable, str(beyond))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"min_side": 64, "max_side": 32}, "min_side"),
        ({"min_side": 2000}, "min_side"),
        ({"optimise_size": 16}, "min_side"),
        ({"min_side": 1000, "max_megapixels": 0.5}, "max_megapixels"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(values, field):
    with pytest.raises(ParameterError) as caught:
        Settings(**values)
    named(caught.value, field)
    with pytest.raises(ParameterError):
        replace(Settings(), **values)


def test_paths_are_those_that_are_there_with_the_home_folder_written_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "networks").mkdir()
    assert Settings(models="~/networks").models == tmp_path / "networks"
    assert Settings(cache=tmp_path / "later").cache == tmp_path / "later"
    with pytest.raises(ParameterError, match="a folder that exists"):
        Settings.from_env({"STYLIZER_ASSETS": str(tmp_path / "none")})


def test_an_unknown_setting_is_refused_with_the_list_and_other_variables_are_nobodys_business():
    with pytest.raises(ParameterError, match="STYLIZER_THREADS"):
        Settings.from_env({"STYLIZER_THREDS": "2"})
    assert Settings.from_env({"PORT": "x", "WEB_THREADS": "y"}) == Settings()
    assert Deployment.from_env({"PORT": "9000", "STYLIZER_PORT": "x"}).port == 9000


def test_the_devices_and_precisions_are_those_of_the_runtimes():
    choices = {each.name: each.metadata["kind"] for each in fields(Settings)}
    assert set(choices["device"].of) == set(runtimes.DEVICES)
    assert set(choices["precision"].of) == set(runtimes.PRECISIONS)


def test_the_document_is_what_the_settings_are():
    script = runpy.run_path(str(ROOT / "docs" / "settings.py"))
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == script["document"](), (
        "run `python docs/settings.py`"
    )


def test_a_server_downloads_nothing_and_answers_for_no_website_unless_told_so():
    assert Settings().optimise_download is False
    assert Settings().host_names == ("*.run.app",)
    assert Settings(allowed_hosts="Paint.example.org, *.example.com").host_names == (
        "paint.example.org",
        "*.example.com",
    )


# Numbers of callers -------------------------------------------------------------------------------------------------

NO_NUMBERS = [
    "",
    " 1",
    "1_0",
    "١",
    "٦٤",
    "1,5",
    "0x1",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9" * 5000,
    "one",
    "1\n",
    True,
    None,
    [],
    {},
    np.bool_(True),
    float("nan"),
    10**400,
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: shown(value)[:20])
def test_what_is_no_number_of_ascii_digits_is_none(value):
    settings = Settings()
    checks = {
        "strength": lambda: check_strength(value),
        "style_scale": lambda: check_style_scale(value),
        "weight": lambda: check_weights([value], 1),
        "size": lambda: check_size("x" if value is None else value, settings),
    }
    for field, check in checks.items():
        with pytest.raises(ParameterError) as caught:
            check()
        named(caught.value, field)


def test_numbers_are_taken_as_such_and_as_text():
    assert check_strength("0.5") == check_strength(np.float32(0.5)) == check_strength(".5") == check_strength("5e-1")
    assert check_style_scale("2") == STYLE_SCALES[1]
    assert check_size("64", Settings()) == check_size(np.int64(64), Settings()) == 64
    assert check_size("original", Settings()) is None and check_size(None, Settings()) is None
    assert boolean("x", "ON") is True and boolean("x", False) is False


@pytest.mark.parametrize(
    "vector",
    [
        [10**400] * 100,
        [1e308] * 100,
        [3e38] * 100,
        [float("nan")] * 100,
        [1.0] * 99 + [float("-inf")],
        [VECTOR_BOUND * 1.01] + [0] * 99,
        [0] * 99,
        [0] * 101,
        [],
        [[1], [2, 3]],
        [[0] * 100] * 2,
        [True] * 100,
        [0.0] * 99 + [True],
        ["1"] * 100,
        [0.0] * 99 + ["1"],
        [None] * 100,
        "1" * 100,
        {"a": 1},
        None,
        7,
        np.full(100, np.iinfo(np.int64).min),
        np.zeros(100, complex),
        np.zeros((100, 1)),
        np.zeros(100, bool),
    ],
    ids=lambda vector: shown(vector)[:24],
)
def test_a_vector_of_anything_but_100_numbers_of_moderate_size_is_refused(vector):
    with pytest.raises(ParameterError, match="style vector") as caught:
        check_vector(vector)
    assert caught.value.field == "style_vector" and len(str(caught.value)) < 200


def test_a_vector_may_be_a_list_an_array_or_a_row_of_one():
    for vector in ([1] * 100, (1.0,) * 100, np.ones(100), np.ones((1, 100), np.float16), np.ones(100, np.uint8)):
        assert np.array_equal(check_vector(vector), np.ones(100, np.float32))
        assert check_vector(vector).dtype == np.float32
    assert np.abs(check_vector([VECTOR_BOUND, -VECTOR_BOUND] * 50)).max() == VECTOR_BOUND


def test_a_picture_painted_by_a_vector_at_its_bound_is_made_of_numbers(stylizer):
    signs = np.random.default_rng(0).choice([-VECTOR_BOUND, VECTOR_BOUND], 100)
    features = stylizer.runtime.encode(np.random.default_rng(1).random((1, 3, 64, 64), np.float32))
    for vector in (signs, np.full(100, VECTOR_BOUND)):
        assert np.isfinite(stylizer.runtime.decode(features, vector.astype(np.float32)[None])).all()


@pytest.mark.parametrize("weights", [[1e308, 1e308], [WEIGHT_BOUND * 2, 1], [-1, 2], [0, 0], ["-0", "0"], [1], "12x"])
def test_weights_that_give_no_shares_are_refused(weights):
    with pytest.raises(ParameterError) as caught:
        check_weights(weights, 2)
    assert caught.value.field == "weight"


def test_shares_sum_to_one_from_the_smallest_weights_to_the_largest():
    for weights in ([5e-324, 5e-324], [WEIGHT_BOUND, WEIGHT_BOUND], ["1", "3"], [0, 1], None, []):
        shares = check_weights(weights, 2)
        assert shares.sum() == pytest.approx(1) and (shares >= 0).all()
    assert check_weights(["1", "3"], 2).tolist() == [0.25, 0.75]


def test_what_came_is_told_in_about_sixty_characters_on_one_line():
    for value in (
        "a" * 10**7,
        "\n" * 5000,
        "\u202e" * 100,
        10**5000,
        [1] * 10**6,
        {"a": "b" * 1000},
        object(),
        np.zeros((1000, 1000)),
        "\udc80" * 90,
        b"x" * 1000,
    ):
        words = shown(value)
        assert len(words) < 150 and "\n" not in words and words.isprintable(), words
    assert shown("nope") == "'nope'" and shown("a" * 10**7) == f"'{'a' * 60}'… (10000000 characters)"


def test_training_needs_none_of_our_own_folders_but_a_folder_that_is_named_must_exist(monkeypatch, tmp_path):
    monkeypatch.setattr("stylizer.settings.PACKAGE", tmp_path / "stylizer")
    assert Settings().models == tmp_path / "models"
    with pytest.raises(ParameterError, match="a folder that exists"):
        Settings.from_env({"STYLIZER_MODELS": str(tmp_path / "models")})
    with pytest.raises(WeightsError, match="is missing"):
        Stylizer(settings=Settings())
    with pytest.raises(ParameterError, match="a folder that exists"):
        create_app(Settings())
