"""The HTTP API, one subject per module; each registers its routes in `make_blueprint`.

A new form field goes into the table in `fields`. A new route goes into the module of its subject, and its description
into `openapi`. `form` reads a request by the table.
"""
