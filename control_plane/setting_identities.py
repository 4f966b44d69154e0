"""Certificates, the first administrator, and prices."""

from typing import Annotated

from pydantic import Field, SecretStr

from control_plane.setting_section import FilePath, SettingSection


class IdentitySettings(SettingSection):
    """Certificates, the first administrator, and prices."""

    node_certificate_hours: Annotated[int, Field(ge=1, le=24 * 30)] = 24
    """Life of a node's certificate, in hours; the daemon renews it when a third is left."""
    server_certificate_days: Annotated[int, Field(ge=1, le=397)] = 90
    """Life of the server's own certificates, in days."""
    ca_certificate_file: FilePath | None = None
    """CA that you bring: its certificate (PEM), followed by those above it. A CA is made if unset."""
    ca_key_file: FilePath | None = None
    """Private key (PEM) of the CA that you bring."""
    ca_key_passphrase: SecretStr | None = None
    """Passphrase of that key, or the one under which the built-in CA's key is kept."""
    admin_email: str = "admin@localhost"
    """E-mail of the administrator that the first start makes."""
    admin_password: SecretStr | None = None
    """Password of that administrator; one is made and printed once if neither this nor the file is set."""
    admin_password_file: FilePath | None = None
    """File that holds the password of that administrator."""
    price_file: FilePath | None = None
    """TOML file with prices that replace or extend the built-in table."""
