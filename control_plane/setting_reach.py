"""Where the control plane listens, and what it needs around it: broker, database, other control planes, traces."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from control_plane.setting_addresses import Address
from control_plane.setting_section import FilePath, Names, SettingSection


class ReachSettings(SettingSection):
    """Where the control plane listens, and what it needs around it: broker, database, other control planes, traces."""

    state_dir: FilePath  # its default depends on the environment, which `Settings` alone reads
    """Directory of everything the control plane keeps: CA, secrets, database, broker data, job logs."""
    people_address: Address = "127.0.0.1:50051"
    """Where people and joining hosts connect (gRPC, server TLS); port 0 takes any free port."""
    nodes_address: Address = "127.0.0.1:50052"
    """Where daemons connect (gRPC, mutual TLS); port 0 takes any free port."""
    advertise_names: Names = ()
    """Host names and addresses by which hosts and people reach this machine; they go into the server
    certificate, and the first one into what joining hosts are told. Local names only if empty."""
    insecure: bool = False
    """Serve the people's port without TLS: passwords and tokens then cross the network in clear. For a proxy
    on the same machine that does TLS itself; the daemons' port and the broker keep their TLS."""
    nats_address: Address = "127.0.0.1:0"
    """Where the embedded broker listens; port 0 takes any free port and keeps it."""
    nats_sync: Literal["every-second", "every-message"] = "every-second"
    """When the embedded broker forces messages to disk; every-second may lose the last second in a power cut."""
    nats_url: Names = ()
    """URLs of your own NATS cluster, tls://host:4222; the embedded broker is then not started."""
    nats_ca_file: FilePath | None = None
    """CA certificate (PEM) of your own NATS cluster; the control plane's own CA if unset. Hosts trust only that one,
    and can send neither output nor telemetry to servers of another."""
    nats_certificate_file: FilePath | None = None
    """Client certificate (PEM) for your own NATS cluster."""
    nats_key_file: FilePath | None = None
    """Private key (PEM) of that client certificate."""
    nats_user: str = ""
    """User name at your own NATS cluster."""
    nats_password: SecretStr | None = None
    """Password at your own NATS cluster."""
    nats_password_file: FilePath | None = None
    """File that holds the password at your own NATS cluster."""
    database_url: str = ""
    """sqlite:///path or postgresql://user:password@host/database; a SQLite file in the state directory if
    empty."""
    replicated: bool = False
    """Run beside other control planes on the same database and NATS cluster: all serve people and hosts, one has its
    agents work. Needs PostgreSQL and nats_url, and the keys of identity_folder in each."""
    replica_name: Annotated[str, Field(max_length=48, pattern="^[A-Za-z0-9_-]*$")] = ""
    """Name of this control plane among them; one is made from the machine's name, and kept, if empty."""
    identity_folder: FilePath | None = None
    """Folder of the keys that all of them share: the CA, and the secrets that sign tokens and grants; identity in the
    state directory if unset."""
    link_servers: Names = ()
    """Addresses of the daemons' ports of all of them, host:port, which hosts are told; those that are running are told
    in any case."""
    metrics_address: str = ""
    """HOST:PORT at which Prometheus reads this control plane's own figures; nowhere if empty. It has neither TLS nor a
    password: keep it on loopback or behind a firewall."""
    otlp_endpoint: Annotated[str, Field(pattern=r"^(https?://[^\s/]+)?$")] = ""
    """A collector of traces that speaks OTLP over gRPC, http://host:4317, or https:// with TLS; none if empty."""
