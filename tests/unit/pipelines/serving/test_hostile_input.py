"""Whatever a client sends, to any address: schemathesis makes it up from the API's own schema.

It asks with what the schema allows and with what it does not, holds every answer against what the
schema promises, and takes no 500 and no answer to what should have been refused.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import positive_data_acceptance

EXAMPLES = 12  # of each address

REFUSALS = ["404", "405", "413", "414", "422", "431"]
CONFIG = schemathesis.Config.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}
)

schema = schemathesis.pytest.from_fixture("api")


@pytest.fixture(scope="module")
def api(serve, id_of):
    """The application, and its schema with what no schema knows: its videos and its heads."""
    asked = serve(hosts=None)
    raw = asked("/openapi.json").json()
    for ways in raw["paths"].values():
        for one in (one for way in ways.values() for one in way.get("parameters", [])):
            if one["name"] == "video":
                known = {"type": "string", "enum": [id_of(number) for number in range(7)]}
                one["schema"] = {"anyOf": [known, one["schema"]]}
            if one["name"] == "head":
                one["schema"] = {"type": "string", "enum": ["run", "mean", ""]}
    found = schemathesis.openapi.from_dict(raw, config=CONFIG)
    found.app = asked.app
    return found


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_any_request_gets_an_answer_of_the_schema(case):
    # that an end lies behind its start, or a second in the video, is more than a schema can say
    told = [positive_data_acceptance] if case.path.endswith(("/clip", "/thumb")) else []
    case.call_and_validate(excluded_checks=told)
