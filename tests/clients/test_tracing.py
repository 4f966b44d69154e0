import pytest
from hypothesis import given
from hypothesis import strategies as st

from orquanta.tracing import TraceContext

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "context"),
    [
        pytest.param(f"00-{TRACE}-{SPAN}-01", TraceContext(TRACE, SPAN), id="sampled"),
        pytest.param(f" 00-{TRACE}-{SPAN}-00 ", TraceContext(TRACE, SPAN, sampled=False), id="not sampled"),
        pytest.param(f"01-{TRACE}-{SPAN}-03-later", TraceContext(TRACE, SPAN), id="a later version"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", None, id="more than version 00 has"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", None, id="forbidden version"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", None, id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", None, id="no span"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", None, id="upper case"),
        pytest.param("", None, id="empty"),
        pytest.param("00-" + "a" * 100_000, None, id="endless"),
    ],
)
def test_headers_are_read_as_the_recommendation_says(text: str, context: TraceContext | None) -> None:
    assert TraceContext.parse(text) == context


@given(st.text(max_size=80))
def test_any_text_is_a_context_or_none(text: str) -> None:
    found = TraceContext.parse(text)
    assert found is None or TraceContext.parse(found.traceparent()) == found


@given(st.text(max_size=40), st.text(max_size=40))
def test_names_lead_to_the_same_context_for_everybody(name: str, child: str) -> None:
    context = TraceContext.named(name)
    assert TraceContext.parse(context.traceparent()) == context == TraceContext.named(name)
    assert context.child(child).trace_id == context.trace_id
    assert context.child(child) == context.child(child)
