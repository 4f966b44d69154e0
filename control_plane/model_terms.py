"""The endpoints of models as the settings name them, with their keys."""

from types import MappingProxyType

from control_plane.reasoning.endpoint import Endpoint
from control_plane.settings import Settings


def endpoints(settings: Settings) -> tuple[Endpoint, ...]:
    """Return the endpoints in order of preference, none if models are switched off. Raises SettingsError."""
    if not settings.model_calls:
        return ()
    return tuple(
        Endpoint(
            name=form.name,
            base_url=form.base_url,
            model=form.model,
            api_key=settings.model_api_key(form),
            input_usd_per_million=form.input_usd_per_million,
            output_usd_per_million=form.output_usd_per_million,
            context_tokens=form.context_tokens,
            connect_seconds=form.connect_seconds,
            first_token_seconds=form.first_token_seconds,
            timeout_seconds=form.timeout_seconds,
            headers=MappingProxyType({name: value.get_secret_value() for name, value in form.headers.items()}),
        )
        for form in settings.model_endpoints
    )
