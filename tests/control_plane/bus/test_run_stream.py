from control_plane.bus.client import Bus
from control_plane.bus.streams import Stream, StreamSpec
from control_plane.bus.subjects import run
from control_plane.model.ids import RUN, new_id


async def test_what_runs_tell_has_a_stream_of_its_own_and_is_stored_once(
    bus: Bus, streams: tuple[StreamSpec, ...]
) -> None:
    subject = run(new_id(RUN))
    first = await bus.publish_event(subject, b"one", message_id="run-1")
    again = await bus.publish_event(subject, b"one", message_id="run-1")
    assert (first.stream, first.duplicate, again.duplicate) == (Stream.RUNS.value, False, True)
