"""Who may import whom, as docs/design.md has it, read from the import statements."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "stylizer"
# Each layer may import itself and those above it; web and training are side by side and never meet.
LAYERS = [
    {"errors", "options", "parameters", "settings", "tiles", "memory", "files", "progress", "cgroups", "cores"},
    {"containers", "alpha", "weights", "serving"},
    {"colours", "tones"},
    {"images"},
    {"brushwork", "networks", "reading"},
    {"canvas", "studies", "losses", "loss_networks"},
    {"photos", "styles"},
    {"runtimes"},
    {"feedforward"},
    {"contract", "fit", "gatys"},
    {"training", "web", "cli", "doctor"},
    {"__main__"},
]
SERVING = {
    "errors",
    "parameters",
    "settings",
    "tiles",
    "memory",
    "cgroups",
    "cores",
    "containers",
    "alpha",
    "colours",
    "tones",
    "images",
    "weights",
    "studies",
    "styles",
    "runtimes",
    "feedforward",
    "cli",
    "__main__",
    "doctor",
    "web",
    "serving",
    "files",
    "progress",
    "brushwork",
    "contract",
    "canvas",
    "photos",
    "reading",
    "options",
}
HEAVY = {"torch", "torchvision", "openvino", "onnx"}


def level(room: str) -> int:
    return next(index for index, rooms in enumerate(LAYERS) if room in rooms)


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names that a file imports; `from stylizer import images` counts as stylizer.images."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _for_types_alone(node)]
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "stylizer":
            found |= {f"stylizer.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


def _for_types_alone(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def rooms() -> dict[str, list[Path]]:
    """{room: its files}: a module or a folder of stylizer/."""
    found: dict[str, list[Path]] = {}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            found.setdefault(room, []).append(path)
    return found


def test_every_room_stands_in_a_layer():
    assert set(rooms()) <= set().union(*LAYERS)


def test_no_room_imports_one_below_it():
    for room, files in rooms().items():
        for path in files:
            for name in imports(path):
                parts = name.split(".")
                if parts[0] == "stylizer" and len(parts) > 1 and parts[1] in set().union(*LAYERS):
                    assert level(parts[1]) <= level(room), f"{path.name} imports {name}"


def test_no_room_imports_itself_by_way_of_others():
    imported = {
        room: {name.split(".")[1] for path in files for name in imports(path) if name.startswith("stylizer.")} - {room}
        for room, files in rooms().items()
    }
    done: set[str] = set()

    def walk(room: str, way: tuple[str, ...] = ()) -> None:
        assert room not in way, " -> ".join((*way, room))
        if room not in done:
            for other in imported.get(room, ()):
                walk(other, (*way, room))
            done.add(room)

    for room in imported:
        walk(room)


def test_web_and_training_never_import_each_other():
    for room, other in (("web", "training"), ("training", "web")):
        for path in rooms()[room]:
            assert not any(name.startswith(f"stylizer.{other}") for name in imports(path)), path.name


def test_nothing_outside_web_imports_dash_or_flask():
    for room, files in rooms().items():
        for path in files:
            web = {
                name for name in imports(path) if name.split(".")[0] in ("dash", "flask", "dash_bootstrap_components")
            }
            assert room == "web" or not web, path.name


def test_nothing_heavy_is_imported_at_the_top_of_what_serves():
    for room in SERVING:
        for path in rooms()[room]:
            heavy = {name for name in imports(path, top_level_only=True) if name.split(".")[0] in HEAVY}
            assert not heavy and "stylizer.networks" not in imports(path, top_level_only=True), f"{path.name}: {heavy}"


def test_only_images_uses_pillows_decoders():
    for files in rooms().values():
        for path in files:
            assert path.name == "images.py" or "Image.open" not in path.read_text(encoding="utf-8"), path.name


def test_there_is_no_python_beside_the_weights():
    assert not list((ROOT / "models").rglob("*.py"))
