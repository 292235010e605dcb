"""What is let in, before any work is done: paths and methods that there are, under our names, from our own page.

A page of another website can make its visitors' browsers send requests here, to their own machine or their network's.
It cannot forge what browsers say of themselves: `Sec-Fetch-Site` and `Origin`, and `Host`, which stays the website's
name where that was pointed at our address (DNS rebinding). Programs send neither of the first two, and are let in.
"""

import ipaddress
import re
import socket

from dash.exceptions import DependencyException
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from stylizer.errors import ForeignSite, MalformedRequest, UnknownHost, shown
from stylizer.settings import Settings

# Of Dash's own paths the ones that the page needs. All callbacks run in the browser, so there are none to answer here,
# and the rest is for development. The paths of blueprints are ours, or its assets.
COMPONENTS = "/_dash-component-suites/<string:package_name>/<path:fingerprinted_path>"
OF_DASH = {"/", "/_dash-layout", "/_dash-dependencies", COMPONENTS}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SAFE = {"GET", "HEAD", "OPTIONS"}  # they change nothing, and other websites cannot read their answers
HEALTH = {"/healthz", "/readyz"}  # for whoever looks after the server, by whatever name that calls it
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")


def guard(server: Flask, settings: Settings) -> None:
    """Have every request looked at first; to be called when all routes are there."""
    machine = socket.gethostname().lower()
    names = {*settings.host_names, machine, f"{machine}.local", "*.localhost"}

    @server.before_request
    def look() -> Response | None:
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
            raise MethodNotAllowed(methods, f"{shown(request.path)} takes {', '.join(methods)} alone")
        if request.method not in SAFE:
            check_site(request.headers, request.environ.get("HTTP_HOST", ""))
        return None

    serve = server.view_functions[COMPONENTS]

    def component(**place: str) -> Response:
        try:
            return serve(**place)
        except (DependencyException, OSError):  # not listed, or listed and not there
            raise NotFound("the page has no such component") from None

    server.view_functions[COMPONENTS] = component


def methods_of(server: Flask, path: str) -> list[str]:
    """What can be done there; nothing where Dash alone would answer, with the page at whatever path."""
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
    """MalformedRequest for no host, UnknownHost for one that is neither among the names nor safe from rebinding."""
    parts = HOST.fullmatch(host or "")
    if not parts:
        raise MalformedRequest(f"the Host header is {shown(host or '')}; it must name the host that is asked")
    address, name = parts[1], (parts[2] or "").lower().rstrip(".")
    if not (_is_address(address or name) or is_ours(name, names)):
        raise UnknownHost(
            f"this server does not answer under the name {shown(name or address)}; whoever runs it can allow that name "
            "by STYLIZER_ALLOWED_HOSTS"
        )


def is_ours(name: str, names: set[str]) -> bool:
    """Whether a name is listed, be it as "*.example.org", or has no dot: such are of local networks, not websites."""
    listed = any(name.endswith(each[1:]) if each.startswith("*") else name == each for each in names)
    return bool(name) and (listed or "." not in name)


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def check_site(headers, host: str) -> None:
    """ForeignSite where a browser says that a page of another website made the request."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:  # older browsers, and all of them over plain http from another machine
        foreign = origin is not None and origin.lower().partition("://")[2] != host.lower()
    if foreign:
        raise ForeignSite("a page of another website sent this; open this server's own page, or ask it by a program")
