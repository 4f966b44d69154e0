"""Secret filter on everything that goes to a model."""

from control_plane.model.redaction import redact, redact_json

__all__ = ["redact", "redact_json"]
