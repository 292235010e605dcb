"""The page's callbacks. All run in the browser, as functions that assets/main.mjs names: no pixels and no choices are
sent through Dash, and a slider move costs the server only the painting.

The functions take and return values by component id, in snake case; see `by_name` in assets/page/dash.js.
"""

from dash import ClientsideFunction, Dash, Input, Output, State

from stylizer.web.page.layout import TRIES


def register(app: Dash, most_styles: int) -> None:
    app.clientside_callback(_in_studio("start"), Input("studio", "id"))  # once
    app.clientside_callback(
        _in_studio("own_tiles"),
        Output("own", "options"),
        Input("own-styles", "data"),
    )
    app.clientside_callback(
        _in_studio("search"),
        Output("search-count", "children"),
        Input("search", "value"),
        Input("own-styles", "data"),
    )
    app.clientside_callback(  # a choice in one part of the wall clears the others
        _in_studio("choose"),
        Output("mix", "data"),
        Output("own", "value"),
        Output("originals", "value"),
        Output("masters", "value"),
        Input("own", "value"),
        Input("originals", "value"),
        Input("masters", "value"),
        Input("own-styles", "data"),
        Input("restored", "data"),
        Input("mix-add", "n_clicks"),
        *[Input(f"{part}-{index}", "n_clicks") for part in ("slot", "drop") for index in range(most_styles)],
        State("mix", "data"),
    )
    app.clientside_callback(
        _in_studio("weigh"),
        Output("style", "data"),
        Output("style-caption", "children"),
        Input("mix", "data"),
        Input("balance", "value"),
        Input("place", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        _in_studio("say_strength"), Output("strength-value", "children"), Input("strength", "value")
    )
    app.clientside_callback(
        _in_studio("say_scale"), Output("style-scale-value", "children"), Input("style-scale", "value")
    )
    app.clientside_callback(
        _in_studio("recall"),
        Input("undo", "n_clicks"),
        Input("redo", "n_clicks"),
        *[Input(f"try-{index}", "n_clicks") for index in range(TRIES)],
        prevent_initial_call=True,
    )
    for button in ("copy", "cancel", "surprise", "study"):
        app.clientside_callback(_in_studio(button), Input(button, "n_clicks"), prevent_initial_call=True)
    app.clientside_callback(_in_studio("stop_study"), Input("study-stop", "n_clicks"), prevent_initial_call=True)
    app.clientside_callback(_in_studio("keep_subject"), Input("study-keep", "value"), prevent_initial_call=True)
    app.clientside_callback(
        _in_studio("follow"),
        Input("transfer", "n_clicks"),
        Input("strength", "value"),
        Input("style-scale", "value"),
        Input("style", "data"),
        Input("photo", "data"),
        Input("size", "value"),
        Input("format", "value"),
        Input("keep-colors", "value"),
    )


def _in_studio(function: str) -> ClientsideFunction:
    return ClientsideFunction(namespace="studio", function_name=function)
