"""Elements used by more than one tab. Every control has a label; notes are announced when they change."""

import dash_bootstrap_components as dbc
from dash import html

FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP"}


def choice(id: str, options: dict[str, str], value: str) -> dbc.Select:
    """A drop-down of {value: label}."""
    return dbc.Select(id=id, options=[{"value": each, "label": label} for each, label in options.items()], value=value)


def labelled(label: str, control, wide: bool = False, **properties) -> html.Div:
    return html.Div(
        [html.Label(label, htmlFor=control.id), control], className="choice wide" if wide else "choice", **properties
    )


def range_slider(id: str, name: str, ends: tuple[str, str], kind: str = "range", **properties) -> html.Div:
    """A native slider; scripts write its value into `ID-value`. `ends`: what its ends stand for."""
    value = html.Span(id=f"{id}-value", className="value", **{"aria-hidden": "true"})
    return html.Div(
        [
            html.Div([html.Label(name, htmlFor=id), value], className="heading"),
            dbc.Input(id=id, type="range", **properties),
            html.Div([html.Span(end) for end in ends], className="ends"),
        ],
        className=kind,
    )


def drawn_slider(id: str, name: str, hint: str, **properties) -> html.Div:
    """A slider that the scripts move by pointer and keys, for cases that no native one fits."""
    values = {"aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0"}
    return html.Div(id=id, role="slider", tabIndex=0, title=hint, **{"aria-label": name}, **values, **properties)


def note(id: str, more: str = "") -> html.P:
    """A message beside the control that it is about; screen readers announce it when it changes."""
    return html.P(id=id, className=f"note {more}".strip(), role="alert")
