"""NodeService: GPU hosts. Its parts are in `node_reads`, `node_changes` and `join_tokens`."""

from control_plane.governor.governor import Governor
from control_plane.identity.credentials import Credentials
from control_plane.services.join_tokens import JoinDetails, JoinTokens
from control_plane.services.node_changes import NodeChanges
from control_plane.services.node_reads import NodeReads
from control_plane.services.watch import Watcher
from control_plane.store.database import Store

__all__ = ["JoinDetails", "Nodes"]


class Nodes(NodeReads, NodeChanges, JoinTokens):
    """Serves nodes."""

    def __init__(
        self,
        *,
        store: Store,
        governor: Governor,
        watcher: Watcher,
        credentials: Credentials,
        join: JoinDetails,
    ) -> None:
        NodeReads.__init__(self, store, watcher)
        NodeChanges.__init__(self, store, governor)
        JoinTokens.__init__(self, store, credentials, join)
