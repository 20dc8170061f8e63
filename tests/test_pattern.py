from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.core.pattern import NM, Block, Channel, Depth, Unstructured, parse_pattern

sizes = st.integers(1, 512)
patterns = st.one_of(
    st.builds(Block, sizes, sizes, st.booleans()),
    st.builds(Channel, sizes),
    st.just(Unstructured()),
    st.builds(Depth, st.none() | st.builds(Channel, sizes)),
    st.tuples(sizes, sizes).filter(lambda p: p[0] < p[1]).map(lambda p: NM(*p)),
)


@given(patterns)
def test_the_notation_round_trips(pattern: NM | Block | Channel | Depth | Unstructured) -> None:
    assert parse_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2:",
        "0:4",
        "4:4",
        "4:2",
        "16x",
        "0x16",
        "channel/0",
        "Channel",
        "depth+",
        "depth+2:4",
        "2:4 ",
        "16X16",
        "16x16/odd",
    ],
)
def test_what_is_no_pattern_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_pattern(text)
    assert repr(text) in str(caught.value)
