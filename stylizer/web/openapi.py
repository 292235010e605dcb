"""The API's description: an OpenAPI 3.1 document made from the settings in force, and a page that reads it to people."""

import html

from stylizer import __version__
from stylizer.contract import LOSS_WEIGHT_BOUND, PATHS, WALL_SIDE, WALL_SIDES, WALL_TILES, codes
from stylizer.images import FORMATS
from stylizer.parameters import STRENGTHS, STYLE_SCALES, VECTOR_BOUND, VECTOR_SIZE, WEIGHT_BOUND
from stylizer.settings import Settings
from stylizer.studies import STEPS


def specification(settings: Settings) -> dict:
    """OpenAPI 3.1, with the bounds that this server holds to."""
    picture = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"}
    said = {
        400: "Nothing was sent, no form, or no Host", 403: "Another website's page sent it", 404: "There is no such thing",
        413: f"More than {settings.max_body_bytes / 2**20:g} MiB, or too many parts", 415: "Not a picture we take",
        421: "Asked by a name that this server does not go by", 422: "A picture or parameter out of bounds, or a damaged picture",
        429: "Busy; Retry-After says when to come again", 500: "A fault of ours", 501: "This installation lacks a library for it",
        503: "Starting, draining, or short of memory",
    }  # fmt: skip
    found = {
        status: {"description": words, "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
        for status, words in said.items()
    }
    problems = {str(status): each for status, each in found.items() if status != 404}

    def reading(*statuses: int) -> dict:
        return {str(status): found[status] for status in (400, 421, 500, *statuses)}

    json_vector = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"type": "array", "items": {"type": "number", "minimum": -VECTOR_BOUND, "maximum": VECTOR_BOUND}, "minItems": VECTOR_SIZE, "maxItems": VECTOR_SIZE}}
    stylize = {
        "content": {**picture, "description": f"The photo: {picture['description']}; sides {settings.min_side} to {settings.max_side}, at most {settings.max_megapixels:g} megapixels"},
        "style": {"type": "array", "items": picture, "maxItems": settings.max_styles, "description": f"Paintings, or studies of them as `stylizer study` writes them; repeat the field to mix, up to {settings.max_styles}"},
        "style_name": {"type": "array", "items": {"type": "string"}, "maxItems": settings.max_styles, "description": "Names from /api/v1/styles"},
        "style_vector": {"type": "array", "items": json_vector, "maxItems": settings.max_styles, "description": f"Style vectors, each a JSON list of {VECTOR_SIZE} numbers from {-VECTOR_BOUND:g} to {VECTOR_BOUND:g}"},
        "weight": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": WEIGHT_BOUND}, "description": f"One a style: files first, then names, then vectors; 0 to {WEIGHT_BOUND:.0f}, not all 0. Up to {settings.max_styles} styles; equal by default"},
        "strength": {"type": "number", "minimum": STRENGTHS[0], "maximum": STRENGTHS[1], "default": 1, "description": "0 is the photo, 1 the full style"},
        "size": {"oneOf": [{"type": "integer", "minimum": settings.min_side, "maximum": settings.max_side}, {"const": "original"}], "description": f"Longest side in pixels, or \"original\"; by default the photo's own, shrunk to {settings.api_size} where it is larger"},
        "style_scale": {"type": "number", "minimum": STYLE_SCALES[0], "maximum": STYLE_SCALES[1], "default": 1, "description": f"How large the strokes are, {STYLE_SCALES[0]:g} to {STYLE_SCALES[1]:g}. For smaller ones the photo is painted so much larger; for larger ones a draft is painted so much smaller, then painted over. Both within the same bounds"},
        "keep_colors": {"type": "boolean", "default": False, "description": "Keep the photo's colours, take the painting's light"},
        "keep_light": {"type": "boolean", "default": False, "description": "As dark and as bright as the photo, so that a night stays one"},
        "format": {"type": "string", "enum": list(FORMATS), "default": "png", "description": "Of the answer"},
    }  # fmt: skip
    wall = {
        "content": stylize["content"],
        "size": {"type": "integer", "minimum": WALL_SIDES[0], "maximum": WALL_SIDES[1], "default": WALL_SIDE, "description": f"Longest side of a tile in pixels, {WALL_SIDES[0]} to {WALL_SIDES[1]}, by default {WALL_SIDE}; smaller photos keep theirs"},
        "style": {**stylize["style"], "maxItems": WALL_TILES, "description": "Studies, painted first; of a painting send the style_vector"},
        "style_name": {**stylize["style_name"], "maxItems": WALL_TILES, "description": f"Names from /api/v1/styles, painted in this order; by default the whole gallery. At most {WALL_TILES} tiles in all"},
        "style_vector": {**stylize["style_vector"], "maxItems": WALL_TILES, "description": f"{stylize['style_vector']['description']}; painted after the names"},
    }
    tile = {
        "description": "A line of JSON a tile, sent as soon as it is painted. Tiles are counted from 0, studies first, then names, then vectors; style is the name, if there is one; picture is a WebP in base64. Should a tile fail, the last line is {\"problem\": ...}",
        "type": "object",
        "properties": {"index": {"type": "integer"}, "style": {"type": ["string", "null"]}, "picture": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/webp"}, "problem": {"$ref": "#/components/schemas/Problem"}},
    }
    several = {"type": "array", "items": {"type": "string"}}
    weight = {"type": "number", "minimum": 0, "maximum": LOSS_WEIGHT_BOUND}
    optimise = {
        "content": stylize["content"],
        "style": stylize["style"],
        "style_name": {**several, "description": "Names from /api/v1/styles, of originals alone: of the masters no picture is stored"},
        "weight": {**stylize["weight"], "description": f"One a style: files first, then names. Up to {settings.max_styles} styles; equal by default"},
        "backbone": {"type": "string", "description": "The network that looks; GET /api/v1/optimise lists them, the default first"},
        "content_layer": {**several, "description": "Where content is compared; by default the network's own choice"},
        "style_layers": {**several, "description": "Where style is compared, the field repeated; by default the network's own choice"},
        "steps": {"type": "integer", "minimum": 1, "maximum": settings.optimise_steps, "description": f"1 to {settings.optimise_steps}; after {settings.optimise_seconds:g} seconds the picture so far is the result"},
        "content_weight": {**weight, "description": "How much the photo's content counts"},
        "style_weight": {**weight, "description": "How much the painting's style counts"},
        "tv_weight": {**weight, "description": "How much grain costs: of the total variation; by default the network's own"},
        "init": {"type": "string", "enum": ["noise", "photo", "feedforward"], "default": "photo", "description": "What it begins from: noise, the photo, or feedforward, which is what /api/v1/stylize paints"},
        "start": {**picture, "description": "With init=feedforward: a picture of the photo's shape to go on from instead"},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1, "default": 0, "description": "Of the noise"},
        "size": {"type": "integer", "minimum": settings.min_side, "maximum": settings.optimise_size, "description": f"Longest side in pixels, {settings.min_side} to {settings.optimise_size}; by default the photo's own, shrunk to 512 where it is larger"},
        "format": {**stylize["format"], "description": "Of the result; previews are JPEG"},
    }
    optimised = {
        "description": "A line of JSON an event. progress: step, steps, losses by name (content, style and variation unweighted, and total), told anew while a step takes long, and download (megabytes, of) while a network is fetched. preview: step, steps and the picture so far, a JPEG in base64. The last line is result (the same with losses; late says that time ended it) or error (problem). Whoever closes the connection ends the work",
        "type": "object",
        "properties": {"event": {"type": "string", "enum": ["progress", "preview", "result", "error"]}, "step": {"type": "integer"}, "steps": {"type": "integer"}, "losses": {"type": "object", "additionalProperties": {"type": "number"}}, "download": {"type": "object"}, "picture": {"type": "string", "contentEncoding": "base64"}, "late": {"type": "boolean"}, "problem": {"$ref": "#/components/schemas/Problem"}},
    }
    study = {
        "style": {**picture, "description": "The painting"},
        "style_name": {"type": "string", "description": "Or the name of an original from /api/v1/styles"},
        "content": {**stylize["content"], "description": "The photo that is to be painted: it is learnt from besides others, and shown on the way; by default a sample"},
        "steps": {**optimise["steps"], "default": STEPS, "description": f"1 to {settings.optimise_steps}, a photo each; after {settings.optimise_seconds:g} seconds the study so far is the result"},
    }
    studied = {
        "description": "A line of JSON an event, as of /api/v1/optimise; among the losses is weave, the variation where the photo is calm. preview and result hold the photo as it is painted by now, a JPEG of 384 pixels, and the study by now, the bytes of a .study.safetensors file; both in base64. Send it as style to be painted by it; nothing is kept here",
        "type": "object",
        "properties": {**optimised["properties"], "study": {"type": "string", "contentEncoding": "base64"}},
    }
    choices = {"type": "object", "properties": {
        "backbones": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}, "title": {"type": "string"}, "state": {"type": "string", "enum": ["shipped", "downloaded", "downloadable"]}, "megabytes": {"type": "integer"}, **{key: several for key in ("layers", "content_layers", "style_layers")}}}},
        "defaults": {"type": "object"}, "bounds": {"type": "object"},
    }}
    styles = {"type": "array", "items": {"type": "object", "properties": {key: {"type": "string"} for key in ("name", "title", "artist", "year", "kind")}}}
    vector = {"type": "object", "properties": {"model": {"type": "string"}, "vector": {"type": "array", "items": {"type": "number"}, "minItems": 100, "maxItems": 100}}}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 100}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stylizer", "version": __version__, "description": "Arbitrary style transfer. No cookies, nothing stored."},
        "paths": {
            f"/{PATHS['stylize']}": {"post": _post("Paint a photo", stylize, ["content"], {media: {"schema": {"type": "string", "format": "binary"}} for media in FORMATS.values()}, problems)},
            f"/{PATHS['wall']}": {"post": _post("A photo in many styles, small", wall, ["content"], {"application/x-ndjson": {"schema": tile}}, problems)},
            f"/{PATHS['vectors']}": {"post": _post("A painting's style vector", {"style": picture}, ["style"], {"application/json": {"schema": vector}}, problems)},
            f"/{PATHS['optimise']}": {
                "get": _get("The classic mode's networks with their layers, defaults and bounds", "application/json", choices, reading(422, 501)),
                "post": _post("A photo optimised step by step (Gatys et al. 2016)", optimise, ["content"], {"application/x-ndjson": {"schema": optimised}}, problems),
            },
            f"/{PATHS['study']}": {"post": _post("A study of one painting: a minute or more of learning", study, [], {"application/x-ndjson": {"schema": studied}}, problems)},
            "/api/v1/styles": {"get": _get("The gallery", "application/json", styles, reading())},
            "/api/v1/styles/{name}/sample.webp": {"get": {**_get("A sample photo painted in a gallery style", "image/webp", {"type": "string", "format": "binary"}, reading(404, 429, 503)), "parameters": [name, {"name": "v", "in": "query", "schema": {"type": "string"}, "description": "The version that the page asks for, whose answer may be kept for good; another one is a 404"}]}},
            "/api/v1/styles/{name}/picture.webp": {"get": {**_get("An original's own picture, small; of the masters none is stored", "image/webp", {"type": "string", "format": "binary"}, reading(404)), "parameters": [name]}},
            "/healthz": {"get": _get("The process lives", "text/plain", {"type": "string"}, {})},
            "/readyz": {"get": _get("Weights are loaded and one tiny run is done", "text/plain", {"type": "string"}, {"503": found[503]})},
        },
        "components": {"schemas": {"Problem": {
            "type": "object", "description": "RFC 9457",
            "properties": {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"}, "code": {"type": "string", "enum": sorted(codes())}, "field": {"type": "string"}},
        }}},
    }  # fmt: skip


def _post(summary: str, fields: dict, required: list[str], answer: dict, problems: dict) -> dict:
    form = {"schema": {"type": "object", "properties": fields, "required": required, "additionalProperties": False}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"multipart/form-data": form}},
        "responses": {"200": {"description": summary, "content": answer}, **problems},
    }


def _get(summary: str, media: str, schema: dict, problems: dict) -> dict:
    answer = {"description": summary, "content": {media: {"schema": schema}}}
    return {"summary": summary, "responses": {"200": answer, **problems}}


def docs_page(spec: dict) -> str:
    """The description as one plain HTML page, which needs no script."""
    parts = [f"<h1>{spec['info']['title']} API</h1><p>{spec['info']['description']} Machine-readable: <a href='v1/openapi.json'>openapi.json</a>.</p>"]
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{html.escape(operation['summary'])}.</p>")
            if "requestBody" in operation:
                form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
                rows = "".join(
                    f"<tr><th scope='row'><code>{name}</code></th><td>{html.escape(field.get('description', ''))}"
                    f"{' (needed)' if name in form['required'] else ''}</td></tr>"
                    for name, field in form["properties"].items()
                )
                parts.append(f"<div class='scroll'><table>{rows}</table></div>")
                answers = operation["responses"]["200"]["content"].values()
                parts += [f"<p>{html.escape(each['schema']['description'])}.</p>" for each in answers if "description" in each["schema"]]
    rows = "".join(
        f"<tr id='{code}'><th scope='row'><code>{code}</code></th><td>{status}</td><td>{html.escape(title)}</td></tr>"
        for code, (status, title) in sorted(codes().items())
    )
    parts.append(f"<h2>Errors</h2><p>Each is <code>application/problem+json</code> with one of these codes.</p><div class='scroll'><table>{rows}</table></div>")
    parts.append(
        "<h2>Example</h2><pre>curl -F content=@photo.jpg -F style_name=starry-night -F strength=0.8 \\\n"
        "     http://127.0.0.1:8050/api/v1/stylize -o painted.png</pre>"
    )
    return (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Stylizer API</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'><meta name='color-scheme' content='light dark'>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}"
        "code,pre{font-size:.9em}pre,.scroll{overflow-x:auto}th,td{text-align:left;padding:.25rem 1rem .25rem 0;vertical-align:top}</style>"
        f"</head><body>{''.join(parts)}</body></html>"
    )
