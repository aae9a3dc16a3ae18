"""Numbers as they are written read back as what they are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rotogbml.numbers import decimal, defined, signed

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(st.floats(-1e6, 1e6), st.integers(1, 4))
def test_a_number_reads_back_with_its_sign(value: float, digits: int) -> None:
    said = signed(value, digits)
    read = float(said.replace("−", "-"))
    assert read == round(value, digits)
    assert said[0] in "+−" if read else said == "0." + "0" * digits
    assert float(decimal(value, digits).replace("−", "-")) == read
    assert "-" not in said + decimal(value, digits)


@given(TREES)
def test_what_is_no_finite_number_is_null_and_all_else_stays(tree: Any) -> None:
    def expected(constant: str) -> None:
        assert constant in ("NaN", "Infinity", "-Infinity")

    said = json.dumps(defined(tree), allow_nan=False)
    assert json.loads(said) == json.loads(json.dumps(tree), parse_constant=expected)
