"""What the sections of the settings share. `control_plane.settings` puts them together and reads the sources."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def absolute(path: Path) -> Path:
    """Return a path from the root on; ~ is somebody's home."""
    return path.expanduser().absolute()


FilePath = Annotated[Path, AfterValidator(absolute)]
Names = tuple[str, ...]
Seconds = Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False)]
WholeSeconds = Annotated[int, Field(gt=0, le=365 * 86_400)]


class SettingSection(BaseModel):
    """Some of the settings. Each field's docstring is its help text."""

    # What checks values is built once, for all sections together.
    model_config = ConfigDict(use_attribute_docstrings=True, defer_build=True)
