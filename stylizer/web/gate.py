"""Which requests are answered, and the security headers of every answer.

A page of another website can make its visitors' browsers send requests here: to a server on their own machine or in
their network. It cannot forge what browsers themselves add: `Sec-Fetch-Site` and `Origin`, and `Host`, which remains
the website's name even if that name was pointed at our address (DNS rebinding). Programs send neither of the first two
and are let in.
"""

import ipaddress
import re
import socket
import threading
from typing import Any

from dash import Dash
from dash.exceptions import DependencyException
from flask import Flask, Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from stylizer.errors import ForeignSite, MalformedRequest, UnknownHost, shown
from stylizer.settings import Settings

# The paths of Dash that the page needs, beside its assets. All callbacks run in the browser, so none are answered here,
# and the rest is for development. Our own routes are in blueprints, and so are the assets.
COMPONENTS = "/_dash-component-suites/<string:package_name>/<path:fingerprinted_path>"
OF_DASH = {"/", "/_dash-layout", "/_dash-dependencies", COMPONENTS}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SAFE = {"GET", "HEAD", "OPTIONS"}  # these change nothing, and other websites cannot read the answers
HEALTH = {"/healthz", "/readyz"}  # for probes, which may use any host name
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")


def guard(server: Flask, settings: Settings) -> None:
    """Check every request before it reaches a route. To be called once all routes are registered."""
    machine = socket.gethostname().lower()
    names = {*settings.host_names, machine, f"{machine}.local", "*.localhost"}

    @server.before_request
    def check() -> Response | None:
        if request.path not in HEALTH:
            check_host(request.environ.get("HTTP_HOST"), names)
        methods = methods_of(server, request.path)
        if not methods:
            raise NotFound(
                f"there is nothing at {shown(request.path)}; the page is at /, the API's description at /api/docs"
            )
        if request.method == "OPTIONS":
            return Response(status=204, headers={"Allow": ", ".join([*methods, "OPTIONS"])})
        if request.method not in methods:
            raise MethodNotAllowed(methods, f"{shown(request.path)} takes only {', '.join(methods)}")
        if request.method not in SAFE:
            check_site(request.headers, request.environ.get("HTTP_HOST", ""))
        return None

    serve = server.view_functions[COMPONENTS]

    def component(**place: str) -> Any:
        try:
            return serve(**place)
        except (DependencyException, OSError):  # unknown to Dash, or known but missing
            raise NotFound("the page has no such component") from None

    server.view_functions[COMPONENTS] = component


def methods_of(server: Flask, path: str) -> list[str]:
    """The methods of a path; none if only Dash would answer, which serves the page at any path."""
    places, found = server.url_map.bind("localhost"), []
    for method in METHODS:
        try:
            endpoint, _ = places.match(path, method)
        except HTTPException:
            continue
        if endpoint.partition(".")[0] in server.blueprints or endpoint in OF_DASH:
            found.append(method)
    return found


def check_host(host: str | None, names: set[str]) -> None:
    """MalformedRequest for no host, UnknownHost for one that is not in `names` and could be a rebound website."""
    parts = HOST.fullmatch(host or "")
    if not parts:
        raise MalformedRequest(f"the Host header is {shown(host or '')}; it must be the host name in the URL")
    address, name = parts[1], (parts[2] or "").lower().rstrip(".")
    if not (_is_address(address or name) or is_ours(name, names)):
        raise UnknownHost(
            f"this server does not answer under the name {shown(name or address)}; whoever runs it can allow the name "
            "with STYLIZER_ALLOWED_HOSTS"
        )


def is_ours(name: str, names: set[str]) -> bool:
    """Whether a name is listed, directly or by "*.example.org", or has no dot and so cannot be a website's."""
    listed = any(name.endswith(each[1:]) if each.startswith("*") else name == each for each in names)
    return bool(name) and (listed or "." not in name)


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def check_site(headers: Headers, host: str) -> None:
    """ForeignSite if a browser says that a page of another website made the request."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:  # older browsers, and any browser over plain http from another machine
        foreign = origin is not None and origin.lower().partition("://")[2] != host.lower()
    if foreign:
        raise ForeignSite("a page of another website sent this; use this server's own page, or a program")


def add_security_headers(app: Dash) -> None:
    """Scripts and pictures come only from here, and the page cannot be framed by another site."""
    policy: dict[str, str] = {}
    lock = threading.Lock()

    def content_security_policy() -> str:
        with lock:  # Dash knows the hash of its inline script only once the page is laid out
            if not policy:
                scripts = " ".join(f"'{each.strip(chr(39))}'" for each in app.csp_hashes())
                policy["value"] = (
                    f"default-src 'self'; script-src 'self' 'wasm-unsafe-eval' {scripts}; worker-src 'self'; "
                    "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; object-src 'none'; "
                    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
                )
        return policy["value"]

    @app.server.after_request
    def add_headers(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", content_security_policy())
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        # Isolated from other origins, a page may use threads in WebAssembly.
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        response.headers.setdefault("Cross-Origin-Embedder-Policy", "require-corp")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("Permissions-Policy", "camera=(self), microphone=(), geolocation=()")
        return response
