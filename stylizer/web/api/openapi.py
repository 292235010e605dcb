"""The OpenAPI 3.1 document of the HTTP API, made for the settings in force.

Forms come from the table in fields.py. What routes answer is written here: a new route needs an entry in `_paths`.
"""

from stylizer import __version__
from stylizer.contract import PATHS, codes
from stylizer.images import FORMATS
from stylizer.parameters import VECTOR_SIZE
from stylizer.settings import Settings
from stylizer.styles import MAX_NAME
from stylizer.web.api.fields import Form, make_forms

STRING, INTEGER, BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
STRINGS = {"type": "array", "items": STRING}
BINARY = {"type": "string", "format": "binary"}
BASE64 = {"type": "string", "contentEncoding": "base64"}
PROBLEM = {"$ref": "#/components/schemas/Problem"}
NDJSON, WEBP = "application/x-ndjson", "image/webp"


def specification(settings: Settings) -> dict:
    """OpenAPI 3.1, with the bounds that this server enforces."""
    members = {
        **{name: STRING for name in ("type", "title", "detail", "field")},
        "status": INTEGER,
        "code": {**STRING, "enum": sorted(codes())},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stylizer",
            "version": __version__,
            "description": "Arbitrary style transfer. No cookies, and no pictures are stored.",
        },
        "paths": _paths(settings),
        "components": {"schemas": {"Problem": {"type": "object", "description": "RFC 9457", "properties": members}}},
    }


def _paths(settings: Settings) -> dict:
    forms, errors = make_forms(settings), _errors(settings)
    of_forms = {status: error for status, error in errors.items() if status != "404"}  # of all that take a form

    def of(*statuses: int) -> dict:
        return {str(status): errors[str(status)] for status in statuses}

    def post(name: str, summary: str, answer: dict) -> dict:
        path = f"/{PATHS[name]}"
        return {path: {"post": _post(summary, forms[path], answer, of_forms)}}

    sample = "/api/v1/styles/{name}/sample.webp"
    picture = "/api/v1/styles/{name}/picture.webp"
    networks = "Classic's loss networks with their layers, and the defaults and bounds of its form"
    optimise = post("optimise", "Optimise a photo step by step (Gatys et al. 2016)", {NDJSON: _optimised()})
    optimise[f"/{PATHS['optimise']}"]["get"] = _get(networks, _json(_choices()), of(400, 421, 422, 500, 501))
    return {
        **post("stylize", "Paint a photo in a style or a mix of styles", {each: BINARY for each in FORMATS.values()}),
        **post("wall", "Paint a photo in many styles, small", {NDJSON: _tile()}),
        **post("vectors", "Read a painting into its style vector", _json(_vector())),
        **optimise,
        **post("study", "Study one painting, which takes a minute or more", {NDJSON: _studied()}),
        "/api/v1/styles": {"get": _get("List the gallery", _json(_styles()), of(400, 421, 500))},
        sample: {
            "get": {
                **_get("The sample photo in a style of the gallery", {WEBP: BINARY}, of(400, 404, 421, 429, 500, 503)),
                "parameters": [_name(), _version()],
            }
        },
        picture: {
            "get": {
                **_get(
                    "An original's picture, small; the masters' are not stored", {WEBP: BINARY}, of(400, 404, 421, 500)
                ),
                "parameters": [_name()],
            }
        },
        "/healthz": {"get": _get("Whether the process is alive", {"text/plain": STRING}, {})},
        "/readyz": {
            "get": _get("Whether weights are loaded and a trial painting succeeds", {"text/plain": STRING}, of(503))
        },
    }


# Operations ---------------------------------------------------------------------------------------------------------


def _post(summary: str, form: Form, answer: dict, errors: dict) -> dict:
    schema = {
        "type": "object",
        "properties": {name: field.schema() for name, field in form.items()},
        "required": [name for name, field in form.items() if field.required],
        "additionalProperties": False,
    }
    body = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    return {"summary": summary, "requestBody": body, "responses": _responses(summary, answer, errors)}


def _get(summary: str, answer: dict, errors: dict) -> dict:
    return {"summary": summary, "responses": _responses(summary, answer, errors)}


def _responses(summary: str, answer: dict, errors: dict) -> dict:
    """`answer`: {media type: schema}."""
    content = {media: {"schema": schema} for media, schema in answer.items()}
    return {"200": {"description": summary, "content": content}, **errors}


def _errors(settings: Settings) -> dict:
    """{status: response} of all errors."""
    words = {
        400: "The body is empty or not a form, or the Host header is missing",
        403: "Sent by a page of another website",
        404: "Not found",
        413: f"More than {settings.max_body_bytes / 2**20:g} MiB, or too many parts",
        415: "Not a picture format we support",
        421: "The server does not answer under this host name",
        422: "A picture or a parameter is out of bounds, or a picture is damaged",
        429: "Busy; Retry-After gives the seconds until a retry may succeed",
        500: "An error in the server",
        501: "A library that this needs is not installed",
        503: "Starting, restarting, or short of memory",
    }
    content = {"application/problem+json": {"schema": PROBLEM}}
    return {str(status): {"description": text, "content": content} for status, text in words.items()}


def _name() -> dict:
    return {"name": "name", "in": "path", "required": True, "schema": {**STRING, "maxLength": MAX_NAME}}


def _version() -> dict:
    words = "The version of the tile; its answer may be cached for good. 404 if it is not the current one"
    return {"name": "v", "in": "query", "schema": STRING, "description": words}


# Answers ------------------------------------------------------------------------------------------------------------


def _json(schema: dict) -> dict:
    return {"application/json": schema}


def _tile() -> dict:
    return {
        "description": (
            "One line of JSON per tile, sent as soon as it is painted. Tiles are counted from 0: studies, then names, "
            "then vectors. style is the name, if there is one; picture is a WebP in base64. If a tile fails, the last "
            'line is {"problem": ...}'
        ),
        "type": "object",
        "properties": {
            "index": INTEGER,
            "style": {"type": ["string", "null"]},
            "picture": {**BASE64, "contentMediaType": WEBP},
            "problem": PROBLEM,
        },
    }


def _vector() -> dict:
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": VECTOR_SIZE, "maxItems": VECTOR_SIZE}
    return {"type": "object", "properties": {"model": STRING, "vector": numbers}}


def _events() -> dict:
    return {
        "event": {**STRING, "enum": ["progress", "preview", "result", "error"]},
        "step": INTEGER,
        "steps": INTEGER,
        "losses": {"type": "object", "additionalProperties": {"type": "number"}},
        "download": {"type": "object"},
        "picture": BASE64,
        "late": BOOLEAN,
        "problem": PROBLEM,
    }


def _optimised() -> dict:
    return {
        "description": (
            "One line of JSON per event. progress has step, steps and the losses by name (content, style and variation "
            "unweighted, and total), repeated while a step takes long, and download (megabytes, of) while a network is "
            "being fetched. preview has step, steps and the picture so far, a JPEG in base64. The last line is result, "
            "the same with losses, where late says that the time limit ended it; or error, with a problem. Closing the "
            "connection ends the work"
        ),
        "type": "object",
        "properties": _events(),
    }


def _studied() -> dict:
    return {
        "description": (
            "One line of JSON per event, as for /api/v1/optimise; the losses include weave, the variation in calm "
            "parts of the photo. preview and result have the photo as the study paints it so far, a JPEG of 384 "
            "pixels, and the study so far, the bytes of a .study.safetensors file; both in base64. Send the study as "
            "style to paint with it; the server keeps nothing"
        ),
        "type": "object",
        "properties": {**_events(), "study": BASE64},
    }


def _choices() -> dict:
    network = {
        "name": STRING,
        "title": STRING,
        "state": {**STRING, "enum": ["shipped", "downloaded", "downloadable"]},
        "megabytes": INTEGER,
        **{key: STRINGS for key in ("layers", "content_layers", "style_layers")},
    }
    backbones = {"type": "array", "items": {"type": "object", "properties": network}}
    properties = {"backbones": backbones, "defaults": {"type": "object"}, "bounds": {"type": "object"}}
    return {"type": "object", "properties": properties}


def _styles() -> dict:
    properties = {key: STRING for key in ("name", "title", "artist", "year", "kind")}
    return {"type": "array", "items": {"type": "object", "properties": properties}}
