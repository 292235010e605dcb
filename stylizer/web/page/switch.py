"""The switch "On this device": whether the browser paints, or the server. assets/page/switch.js is its other half."""

import dash_bootstrap_components as dbc
from dash import ClientsideFunction, Dash, Input, html

from stylizer.settings import Settings
from stylizer.web.device import MISSING, has_runtime


def make_switch(settings: Settings) -> html.Div:
    """The switch, the words about it, and the question that is asked before a picture would leave the device."""
    there = has_runtime(settings)
    return html.Div(
        [
            dbc.Switch(id="on-device", label="On this device", value=False, disabled=not there),
            html.P(
                "Paints in your browser: no picture is sent." if there else MISSING,
                id="device-words",
                **{"aria-live": "polite"},
            ),
            html.P("Works offline from now on.", id="device-offline", hidden=True),
            html.Progress(id="device-progress", hidden=True, **{"aria-label": "Download"}),
            html.Dialog(
                [
                    html.P(id="device-question"),
                    html.Div(
                        [
                            html.Button("Not now", id="device-stay", className="minor"),
                            html.Button("Paint on the server", id="device-leave", className="minor"),
                        ],
                        className="actions",
                    ),
                ],
                id="device-dialog",
                **{"aria-labelledby": "device-question"},
            ),
        ],
        id="engine-switch",
    )


def register(app: Dash) -> None:
    app.clientside_callback(ClientsideFunction("studio", "switch_device"), Input("on-device", "value"))
