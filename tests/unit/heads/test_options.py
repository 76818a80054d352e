import pytest

from vidret.data.errors import ConfigError
from vidret.heads.options import CHOICES, HeadOptions


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_no_choice_is_refused_with_those_that_are(name):
    unchecked = HeadOptions.__init__.__wrapped__  # without the check of types that tests add
    with pytest.raises(ConfigError, match=f"{name} is 'sqrt': it can be {CHOICES[name][0]}"):
        unchecked(HeadOptions.__new__(HeadOptions), **{name: "sqrt"})
