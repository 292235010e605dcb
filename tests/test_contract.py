"""What Python and the page must agree on."""

import json
import re

from stylizer import contract, reading
from stylizer.contract import FILE, as_javascript, codes, shared
from stylizer.web.api.openapi import specification


def test_the_pages_contract_is_the_one_of_python():
    assert FILE.read_text(encoding="utf-8") == as_javascript(), "run make contract"


def test_every_value_is_json_under_its_own_name():
    found = dict(re.findall(r"^export const (\w+) = (.*);$", as_javascript(), flags=re.MULTILINE))
    assert found.keys() == shared().keys()
    assert json.loads(found["READING"])["READ_SIDE"] == reading.READ_SIDE
    assert json.loads(found["IMAGES"])["LUMA"] == [0.299, 0.587, 0.114]


def test_what_is_posted_is_what_the_api_describes(settings):
    described = {path for path, methods in specification(settings)["paths"].items() if "post" in methods}
    assert {f"/{path}" for path in contract.PATHS.values()} == described


def test_every_code_has_a_status_and_a_title():
    for code, (status, title) in codes().items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code) and 400 <= status < 600 and title[0].isupper()
