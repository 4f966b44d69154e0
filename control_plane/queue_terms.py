"""What the settings say about the queue, as the scheduler and the services get it."""

from control_plane.agents.scheduler import Scheduler
from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.queueing.model import QueueOrder, QueueTerms
from control_plane.governor.governor import Governor
from control_plane.scheduling.view import QueueSettings
from control_plane.settings import Settings
from control_plane.store.database import Store
from control_plane.urgency import Urgency


def settings_of(settings: Settings) -> QueueSettings:
    """Return how the queue is served, hosts are chosen, and what accounts may hold."""
    return QueueSettings(
        settings.max_gpus_per_user,
        QueueTerms(
            order=QueueOrder(settings.queue_order),
            backfill=settings.queue_backfill,
            preemption=settings.queue_preemption,
            aging_seconds=settings.queue_aging_seconds,
            min_runtime_seconds=settings.queue_min_runtime_seconds,
        ),
        PackingPolicy(settings.queue_packing),
    )


def scheduler(settings: Settings, store: Store, governor: Governor, urgency: Urgency) -> Scheduler:
    """Return the agent that serves the queue so."""
    queue = settings_of(settings)
    return Scheduler(
        store,
        governor,
        max_gpus_per_user=queue.max_gpus_per_user,
        terms=queue.terms,
        packing=queue.packing,
        urgency=urgency,
    )
