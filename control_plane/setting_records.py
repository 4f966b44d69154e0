"""What is written down, and for how long: log lines, output of jobs, the audit."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from control_plane.setting_section import SettingSection

_MIB: Final = 1024 * 1024


class RecordSettings(SettingSection):
    """What is written down, and for how long: log lines, output of jobs, the audit."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level of log lines that are written."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """Form of log lines; auto: text on a terminal, JSON otherwise."""
    job_log_max_bytes: Annotated[int, Field(ge=64 * 1024)] = 64 * _MIB
    """Output kept for each member of a job, in bytes; beyond it the older half is dropped and counted."""
    job_logs_total_max_bytes: Annotated[int, Field(ge=_MIB)] = 8 * 1024 * _MIB
    """Output kept over all jobs, in bytes; beyond it that of the oldest ended jobs is deleted."""
    audit_checkpoint_file: Path | None = None
    """File to which signed checkpoints of the audit are appended; best on another machine's disk.
    Default: audit/checkpoints.jsonl in the state directory."""
    audit_keep_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """Days that audit records stay in the database; older ones are archived to files first. 0 keeps them for good."""
