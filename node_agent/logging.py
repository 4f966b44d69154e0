"""The daemon's log: one line of `key=value` or JSON for each event, on standard error.

To be imported before anything else that imports structlog.
"""

import logging
import sys
from typing import Any

# structlog imports rich, where it is installed, for consoles that a daemon has not: 4 MB of memory for nothing.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # None is how Python marks a module as absent

import structlog  # noqa: E402 - after the line above

from node_agent.settings import LogLevel, Settings  # noqa: E402 - after the line above

_LEVELS = {LogLevel.DEBUG: 10, LogLevel.INFO: 20, LogLevel.WARNING: 30, LogLevel.ERROR: 40}


def configure_logging(settings: Settings) -> None:
    """Log as the settings say, from now on."""
    # asyncio warns of something harmless each time a TLS connection made by start_tls (NATS) is closed.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    # Any: the two renderers share no base class.
    renderer: Any = structlog.processors.JSONRenderer() if settings.log_json else structlog.processors.LogfmtRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
