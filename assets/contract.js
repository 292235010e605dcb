/* Written by `make contract` from stylizer/contract.py: what Python and the page must agree on. */

export const PATHS = {"STYLIZE": "api/v1/stylize", "WALL": "api/v1/wall", "VECTORS": "api/v1/vectors", "STUDY": "api/v1/study", "OPTIMISE": "api/v1/optimise"};
export const CODES = {"BAD_REQUEST": "bad-request", "NOT_FOUND": "not-found", "METHOD_NOT_ALLOWED": "method-not-allowed", "INTERNAL": "internal", "EMPTY": "empty", "MALFORMED": "malformed", "UNKNOWN_HOST": "unknown-host", "FOREIGN_SITE": "foreign-site", "TOO_MANY_BYTES": "too-many-bytes", "TOO_MANY_PARTS": "too-many-parts", "UNSUPPORTED_PICTURE": "unsupported-picture", "BROKEN_PICTURE": "broken-picture", "PICTURE_OUT_OF_BOUNDS": "picture-out-of-bounds", "PARAMETER_OUT_OF_BOUNDS": "parameter-out-of-bounds", "NOT_FINITE": "not-finite", "BUSY": "busy", "OUT_OF_MEMORY": "out-of-memory", "TOOK_TOO_LONG": "took-too-long", "RESTARTING": "restarting", "TOO_SLOW": "too-slow", "TOO_MANY_HEADERS": "too-many-headers", "GONE": "gone", "NOT_INSTALLED": "not-installed", "NOT_READY": "not-ready", "WEIGHTS": "weights", "UNKNOWN_STYLE": "unknown-style"};
export const RETRY_STATUSES = [429, 502, 503, 504];
export const MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"};
export const TILE_FORMAT = "webp";
export const WALL_SIDE = 176;
export const VECTOR_SIZE = 100;
export const VECTOR_BOUND = 100.0;
export const STRENGTHS = [0.0, 1.0];
export const STYLE_SCALES = [0.5, 2.0];
export const STUDY_SUFFIX = ".study.safetensors";
export const ALPHA = {"GREY": 128, "FAINT": 64, "CLEAR": 128, "KNOWN": 65535, "SHADOW": 2};
export const BRUSHWORK = {"CELL": 2.0, "HEIGHTS": [3.0, 10.0], "BOLDNESS": 1.2, "PLAIN": 9.0, "AROUND": 7, "SIDES": [[5, 1.0], [17, 0.3], [65, 0.1]], "DRIFT": 2.0, "STEPS": [1, 3, 5], "MOST_CELLS": 1500000, "LEAST_SIDE": 2};
export const CANVAS = {"EDGE": 8, "FADE": 0.25};
export const IMAGES = {"LUMA": [0.299, 0.587, 0.114], "REDUCING_GAP": 3};
export const PHOTOS = {"FEATURE_BYTES": 16777216};
export const READING = {"STYLE_SIDE": 256, "READ_SIDE": 384, "READ_FOR": 448, "MOST_OCTAVES": 1.5};
export const STUDIES = {"VERSION": "1", "RANK": 16, "MAX_BYTES": 262144, "BOUND": 100.0};
export const TILES = {"STRIDE": 4, "MARGIN": 72, "SMALLER": [[768, 49], [512, 25]], "SAMPLE_SIDE": 128, "CELL": 32, "SPARSE": 0.1, "SPARSEST": 0.03, "THINGS_SHARE": 0.5, "FAINT": 14.0, "FAINTEST": 6.0, "WHOLE_PIXELS": 4194304};
