"""The OpenAPI document against the routes, field by field: values at its bounds are accepted, values beyond them are
refused with the field's name.

What is sent as a picture is not one, so a good request ends at the decoder with a 415, and nothing is painted.
"""

import copy
import json
import math
from dataclasses import replace

import pytest
from studying import random_study
from test_api import post, problem

from stylizer import studies
from stylizer.settings import Settings
from stylizer.web import create_app
from stylizer.web.api.fields import make_forms
from stylizer.web.api.openapi import specification

STYLIZE, WALL, VECTORS = "/api/v1/stylize", "/api/v1/wall", "/api/v1/vectors"
OPTIMISE, STUDY = "/api/v1/optimise", "/api/v1/study"
NO_PICTURE = b"not a picture"
# A value for every text field without bounds; a new one needs a value here.
TEXTS = {"style_name": "kintsugi", "backbone": "narrow", "content_layer": "relu4_3", "style_layers": "relu3_3"}
COMPLETE = {
    STYLIZE: {"content": NO_PICTURE, "style_name": "kintsugi"},
    WALL: {"content": NO_PICTURE},
    VECTORS: {"style": NO_PICTURE},
    OPTIMISE: {"content": NO_PICTURE, "style_name": "kintsugi"},
    STUDY: {"style": NO_PICTURE},
}
BESIDE = {  # what must be sent with a field, or must not (None), on all paths or on one
    "weight": {"style_name": ["kintsugi", "batik"]},
    "start": {"init": "feedforward"},
    (STYLIZE, "style"): {"style_name": None},
    (STYLIZE, "style_vector"): {"style_name": None},
    (OPTIMISE, "style"): {"style_name": None},
    (STUDY, "style_name"): {"style": None, "content": NO_PICTURE},
}
COUNTED_AS = {STYLIZE: "style", OPTIMISE: "style", WALL: "style_name"}  # the field named if there are too many styles


def forms(settings: Settings) -> dict[str, dict]:
    """{path: the schema of its form}, as the document has it."""
    return {
        path: methods["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        for path, methods in specification(settings)["paths"].items()
        if "post" in methods
    }


FORMS = forms(Settings(device="cpu"))
FIELDS = [(path, name) for path, form in FORMS.items() for name in form["properties"]]


@pytest.fixture(scope="module")
def study(stylizer) -> bytes:
    return studies.dump(random_study(stylizer, rank=1))


# Values from a schema -----------------------------------------------------------------------------------------------


def examples(name: str, schema: dict, file: bytes) -> tuple[list, list]:
    """(values at the bounds, values beyond them) of one value; bytes are sent as files."""
    if "oneOf" in schema:
        pairs = [examples(name, each, file) for each in schema["oneOf"]]
        return [value for allowed, _ in pairs for value in allowed], pairs[0][1]
    if "const" in schema:
        return [schema["const"]], ["other"]
    if "enum" in schema:
        return schema["enum"], ["other", ""]
    if "contentSchema" in schema:
        return vectors(schema["contentSchema"])
    if schema.get("format") == "binary":
        return [file], ["text"]
    low, high = schema.get("minimum"), schema.get("maximum")
    return {
        "boolean": lambda: (["true", "false"], ["perhaps", ""]),
        "integer": lambda: ([low, high], [low - 1, high + 1, low + 0.5, "x", ""]),
        "number": lambda: (
            [low, high],
            [math.nextafter(low, -math.inf), math.nextafter(high, math.inf), "x", "NaN", ""],
        ),
        "string": lambda: ([TEXTS[name]], [b"a file"]),
    }[schema["type"]]()


def vectors(schema: dict) -> tuple[list[str], list[str]]:
    least, most = schema["minItems"], schema["maxItems"]
    (lows, highs), beyond = examples("", schema["items"], b"")[0], examples("", schema["items"], b"")[1][:2]
    allowed = [[lows] * least, [highs] * most]
    refused = [[lows] * (least - 1), [lows] * (most + 1), *([each] + [lows] * (least - 1) for each in beyond)]
    return list(map(json.dumps, allowed)), [*map(json.dumps, refused), "x"]


def cases(name: str, schema: dict, file: bytes) -> tuple[list[list], list[list], list[list]]:
    """(allowed, refused, too many): each is all that is sent of one field."""
    several = schema.get("type") == "array"
    allowed, refused = examples(name, schema["items"] if several else schema, file)
    allowed = allowed + ([schema["default"]] if "default" in schema else [])
    if not several:
        return [[value] for value in allowed], [[value] for value in refused] + [[allowed[0]] * 2], []
    most = schema.get("maxItems")
    full, over = ([[allowed[0]] * most], [[allowed[0]] * (most + 1)]) if most else ([], [])
    return [[value] for value in allowed] + full, [[value] for value in refused], over


# The document against the routes ------------------------------------------------------------------------------------


def send(client, path: str, name: str, values: list):
    if name == "weight":
        values = [*values, 1]  # for two styles, since not all weights may be 0
    fields = COMPLETE[path] | BESIDE.get(name, {}) | BESIDE.get((path, name), {}) | {name: values}
    return post(client, path, **{field: value for field, value in fields.items() if value is not None})


def disagreements(client, path: str, name: str, schema: dict, study: bytes) -> list[str]:
    """Values that the route accepts and the schema does not, or the other way round."""
    found = []
    allowed, refused, too_many = cases(name, schema, study if (path, name) == (WALL, "style") else NO_PICTURE)
    for values in allowed:
        answer = send(client, path, name, values)
        if answer.status_code != 415:
            found.append(f"{values!r:.60} is allowed, but the answer is {answer.get_data(as_text=True)[:200]}")
    for values in refused + too_many:
        answer = send(client, path, name, values)
        named = {name, COUNTED_AS.get(path)} if values in too_many else {name}
        if answer.status_code != 422 or answer.get_json(force=True)["field"] not in named:
            found.append(f"{values!r:.60} is not allowed, but the answer is {answer.get_data(as_text=True)[:200]}")
    return found


def need_torch(path: str) -> None:
    if path in (OPTIMISE, STUDY):
        pytest.importorskip("torch")


@pytest.mark.parametrize(("path", "name"), FIELDS)
def test_a_field_is_accepted_at_the_documents_bounds_and_refused_beyond_them(client, study, path, name):
    need_torch(path)
    assert disagreements(client, path, name, FORMS[path]["properties"][name], study) == []


@pytest.mark.parametrize("path", FORMS)
def test_a_route_needs_the_fields_that_the_document_requires_and_takes_no_others(client, path):
    need_torch(path)
    for name in FORMS[path]["required"]:
        rest = {field: value for field, value in {"size": 64, **COMPLETE[path]}.items() if field != name}
        if path == VECTORS:  # which has no other field
            problem(post(client, path), 400, "empty")
        else:
            problem(post(client, path, **rest), 422, field=name)
    assert FORMS[path]["additionalProperties"] is False
    problem(post(client, path, **COMPLETE[path], nonsense=1), 422, field="nonsense")


def test_the_documents_bounds_follow_the_settings(settings, study):
    pytest.importorskip("torch")
    own = replace(
        settings, max_styles=3, min_side=48, max_side=4000, api_size=900, optimise_size=300, optimise_steps=77
    )
    client, described = create_app(own).server.test_client(), forms(own)
    assert described[OPTIMISE]["properties"]["steps"]["maximum"] == 77
    for path, name in FIELDS:
        assert disagreements(client, path, name, described[path]["properties"][name], study) == [], (path, name)


@pytest.mark.parametrize(
    ("path", "name", "change"),
    [
        (STYLIZE, "strength", {"maximum": 1.5}),
        (STYLIZE, "strength", {"maximum": 0.5}),
        (STYLIZE, "style_scale", {"minimum": 0.25}),
        (STYLIZE, "keep_light", {"type": "number", "minimum": 0, "maximum": 2}),
        (STYLIZE, "format", {"enum": ["png", "bmp"]}),
        (STYLIZE, "style_name", {"maxItems": 6}),
        (STYLIZE, "style_name", {"maxItems": 4}),
        (STYLIZE, "style_vector", {"maxItems": 7}),
        (STYLIZE, "weight", {"items": {"type": "number", "minimum": -1, "maximum": 1e6}}),
        (STYLIZE, "size", {"oneOf": [{"type": "integer", "minimum": 32, "maximum": 320}, {"const": "original"}]}),
        (WALL, "size", {"default": 400}),
        (VECTORS, "style", {"type": "array", "items": {"type": "string", "format": "binary"}, "maxItems": 2}),
    ],
)
def test_a_document_with_other_bounds_is_noticed(client, study, path, name, change):
    schema = copy.deepcopy(FORMS[path]["properties"][name]) | change
    assert disagreements(client, path, name, schema, study)


def test_the_tables_defaults_for_classic_are_those_of_its_module(settings):
    gatys = pytest.importorskip("stylizer.gatys")
    form = make_forms(settings)[OPTIMISE]
    assert form["init"].kind.of == gatys.INITS
    for name in ("init", "seed"):
        assert form[name].default == getattr(gatys.GatysConfig, name)
