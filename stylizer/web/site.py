"""What browsers and crawlers ask every site for: /robots.txt and /favicon.ico."""

from flask import Blueprint, Response

from stylizer.web.services import Services


def make_blueprint(services: Services) -> Blueprint:
    routes = Blueprint("site", __name__)

    @routes.get("/robots.txt")
    def robots() -> Response:
        return Response("User-agent: *\nDisallow: /api/\n", mimetype="text/plain")

    @routes.get("/favicon.ico")
    def icon() -> Response:
        picture = (services.settings.assets / "favicon.svg").read_bytes()
        return Response(picture, mimetype="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"})

    return routes
