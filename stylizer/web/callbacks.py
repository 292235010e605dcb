"""What follows from what on the page. Every callback runs in the browser, in assets/studio.js: no pixel and no choice
is sent through Dash, and a slider move costs the server nothing but the painting."""

from dash import ClientsideFunction, Dash, Input, Output, State


def register(app: Dash) -> None:
    app.clientside_callback(_in_studio("start"), Input("page", "data"))
    app.clientside_callback(
        _in_studio("own_tiles"),
        Output("own", "options"), Output("own-heading", "hidden"),
        Input("own-styles", "data"),
    )  # fmt: skip
    app.clientside_callback(                # choosing in one part of the wall undoes the choice in the others
        _in_studio("choose"),
        Output("style", "data"), Output("style-caption", "children"),
        Output("own", "value"), Output("originals", "value"), Output("masters", "value"),
        Input("own", "value"), Input("originals", "value"), Input("masters", "value"), Input("own-styles", "data"),
        State("page", "data"),
    )  # fmt: skip
    app.clientside_callback(
        _in_studio("say_strength"), Output("strength-value", "children"), Input("strength", "value")
    )  # fmt: skip
    app.clientside_callback(
        _in_studio("follow"),
        Input("transfer", "n_clicks"), Input("strength", "value"), Input("style", "data"), Input("photo", "data"),
        Input("size", "value"), Input("format", "value"), Input("keep-colors", "value"),
    )  # fmt: skip


def _in_studio(function: str) -> ClientsideFunction:
    return ClientsideFunction(namespace="studio", function_name=function)
