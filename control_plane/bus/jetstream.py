"""Streams and consumers as the broker wants them described."""

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext, api

from control_plane.bus.streams import StreamSpec
from control_plane.errors import Unavailable


async def ensure_stream(context: JetStreamContext, spec: StreamSpec, *, update: bool = True) -> None:
    """Create a stream; with `update`, bring one that is there to its present settings.

    Raises:
        Unavailable: BUS_STREAM_FAILED.
    """
    config = _stream_config(spec)
    try:
        try:
            await context.stream_info(spec.stream.value)
        except nats.js.errors.NotFoundError:
            await context.add_stream(config)
        else:
            if update:
                await context.update_stream(config)
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(
            f"the broker does not set up the stream {spec.stream.value} ({error}): check that JetStream is on and "
            f"has {spec.max_bytes} bytes left, and {spec.replicas} servers",
            reason="BUS_STREAM_FAILED",
        ) from None


def _stream_config(spec: StreamSpec) -> api.StreamConfig:
    return api.StreamConfig(
        name=spec.stream.value,
        subjects=list(spec.subjects),
        retention=api.RetentionPolicy.LIMITS,
        discard=api.DiscardPolicy.OLD,
        storage=api.StorageType.FILE,
        max_bytes=spec.max_bytes,
        max_age=spec.max_age_seconds,
        max_msgs_per_subject=spec.max_messages_per_subject,
        max_msg_size=spec.max_message_bytes,
        duplicate_window=spec.duplicate_window_seconds,
        num_replicas=spec.replicas,
    )


def consumer_config(
    durable: str,
    *,
    filter_subject: str | None,
    ack_wait_seconds: float,
    max_in_flight: int,
    forget_after_seconds: float = 0.0,
) -> api.ConsumerConfig:
    """Return a durable pull consumer that begins with the oldest message."""
    return api.ConsumerConfig(
        durable_name=durable,
        deliver_policy=api.DeliverPolicy.ALL,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ack_wait_seconds,
        max_ack_pending=max_in_flight,
        filter_subject=filter_subject,
        inactive_threshold=forget_after_seconds or None,
    )
