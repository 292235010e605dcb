"""Writes docs/settings.md, the table of every setting: `python docs/settings.py`."""

from pathlib import Path

from stylizer.settings import Checked, Deployment, Settings

HEAD = """# Settings

Settings are environment variables, read once at startup. An unknown, empty or out-of-range one stops the start with a
line that says what is allowed. In Python they are the fields of `stylizer.settings.Settings`, checked in the same way.
This page is generated from `stylizer/settings.py` by `python docs/settings.py`.
"""


def document() -> str:
    rules = " ".join(f"`{low}` must not exceed `{high}`." for low, high in Settings.AT_MOST)
    tables = table(Settings, "For every way to run it"), rules, "", table(Deployment, "For gunicorn only")
    return "\n".join([HEAD, *tables])


def table(settings: type[Checked], title: str) -> str:
    rows = [f"## {title}", "", "| variable | default | allowed | what it is |", "|---|---|---|---|"]
    for name, each in settings.variables().items():
        default = each.metadata["default"] or f"`{written(each.default)}`"
        rows.append(f"| `{name}` | {default} | {each.metadata['kind'].words()} | {each.metadata['reason']} |")
    return "\n".join([*rows, ""])


def written(default: object) -> str:
    """As it is written in a variable."""
    return str(default).lower() if isinstance(default, bool) else str(default)


if __name__ == "__main__":
    (Path(__file__).parent / "settings.md").write_text(document(), encoding="utf-8")
