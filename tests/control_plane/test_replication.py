"""What a control plane checks before it joins others."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.bus.bucket import Bucket
from control_plane.bus.client import Bus
from control_plane.clock import SystemClock
from control_plane.credentials import Certificates
from control_plane.errors import PreconditionFailed
from control_plane.governor.policy import judging
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.policy.expression import Values
from control_plane.governor.policy.samples import sample_inputs
from control_plane.governor.policy_following import PolicyFollower
from control_plane.governor.policy_loading import PolicyLoader
from control_plane.governor.ruling import Ruling
from control_plane.identity.secrets import SecretBox
from control_plane.replication import Addresses, Replication, settings_version
from control_plane.setting_sources import SettingsError
from control_plane.settings import Settings, load_settings
from control_plane.store import policy_sets
from control_plane.store.database import Store, Tx
from tests.fake_clock import FakeClock

CLUSTER = ["--database-url", "postgresql://u@db/x", "--nats-url", "tls://n1:4222"]
RULE = "rules:\n  - id: {}\n    when: action.kind == 'launch_jobs'\n    then: deny\n    message: closed\n"


def settings(*flags: str, state_dir: Path) -> Settings:
    arguments = ["--state-dir", str(state_dir), "--replicated", *CLUSTER, *flags]
    return load_settings(arguments, environ={}, default_file=state_dir / "none")


@pytest.mark.parametrize(
    ("flag", "one", "other"),
    [
        ("--metrics-address", "10.0.0.1:9446", "10.0.0.2:9446"),
        ("--otlp-endpoint", "http://10.0.0.1:4317", "http://10.0.0.2:4317"),
        ("--memory-embedder-key-file", "/a/key", "/b/key"),
        ("--memory-weaviate-key-file", "/a/key", "/b/key"),
    ],
)
def test_addresses_and_paths_of_one_machine_are_no_other_settings(
    flag: str, one: str, other: str, tmp_path: Path
) -> None:
    alpha = settings(flag, one, state_dir=tmp_path / "a")
    beta = settings(flag, other, state_dir=tmp_path / "b")
    assert settings_version(alpha) == settings_version(beta)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (CLUSTER[2:], "replicated needs a database that several control planes can reach: set database_url"),
        (["--database-url", "sqlite:////x", *CLUSTER[2:]], "set database_url to postgresql://"),
        (CLUSTER[:2], "replicated needs a NATS cluster of your own: set nats_url"),
        ([*CLUSTER, "--replica-name", "a.b"], "replica_name"),
    ],
    ids=["no database", "a file", "no cluster", "a name with a dot"],
)
def test_what_several_control_planes_need_is_named(flags: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(["--replicated", *flags], environ={}, default_file=tmp_path / "none")
    assert told in str(refused.value)


def test_settings_that_all_share_are_told_from_those_of_one_machine(tmp_path: Path) -> None:
    alpha = settings("--replica-name", "alpha", "--people-address", "127.0.0.1:1", state_dir=tmp_path / "a")
    beta = settings("--replica-name", "beta", "--log-level", "debug", state_dir=tmp_path / "b")
    assert settings_version(alpha) == settings_version(beta)
    assert settings_version(alpha) != settings_version(settings("--lease-seconds", "20", state_dir=tmp_path / "a"))


def replication(made: Settings, store: Store) -> Replication:
    bus = Bus.__new__(Bus)  # nothing of this is about the broker
    return Replication(made, store, bus, Bucket(bus, "X"), PolicyBook(), Addresses("a:1", "a:2"))


@pytest.fixture
async def store(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    opened = await Store.open(sqlite_url, clock=clock, shared=True)
    yield opened
    await opened.close()


async def test_a_name_is_made_once_and_kept(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    made = settings(state_dir=tmp_path / "a")
    first = replication(made, store)
    assert replication(made, store).name == first.name
    assert replication(settings("--replica-name", "beta", state_dir=tmp_path / "a"), store).name == "beta"


async def test_a_control_plane_with_other_keys_than_the_database_knows_is_told_which(
    store: Store, tmp_path: Path
) -> None:
    def parts(folder: str) -> tuple[Settings, Certificates, SecretBox]:
        made = settings("--identity-folder", str(tmp_path / folder), state_dir=tmp_path / folder / "state")
        made.state_dir.mkdir(parents=True)
        box = SecretBox.load_or_create(made.identity)
        return made, Certificates(made, ("localhost",), clock=SystemClock()), box

    made, certificates, box = parts("first")
    await replication(made, store).check_identity(certificates, box)
    await replication(made, store).check_identity(certificates, box)
    with pytest.raises(PreconditionFailed) as refused:
        await replication(made, store).check_identity(certificates, replace(box, jwt_key=bytes(32)))
    assert refused.value.reason == "IDENTITY_DIFFERS"
    assert refused.value.message.startswith("jwt.key in ")
    other, other_certificates, other_box = parts("second")
    with pytest.raises(PreconditionFailed, match=r"audit\.key, ca, derivation\.key, jwt\.key, nats-control\.key, nats"):
        await replication(other, store).check_identity(other_certificates, other_box)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str, str], Path]:
    def made(name: str, rule: str) -> Path:
        path = tmp_path / name
        path.mkdir()
        (path / "rules.yaml").write_text(RULE.format(rule))
        return path

    return made


async def test_replicas_go_by_the_policies_of_the_leader_and_tell_of_others(
    store: Store, folder: Callable[[str, str], Path]
) -> None:
    leaders, own = PolicyBook(), PolicyBook()
    follower = PolicyFollower(store, own, folder("own", "theirs"))
    assert not await follower.look(), "nobody has led yet"
    await PolicyLoader(store, leaders, folder("leading", "ours")).start()
    assert await follower.look()
    assert own.current.version == leaders.current.version
    assert [rule.id for rule in own.current.rules] == ["ours"]
    await follower._compare()
    assert follower.own_version not in ("", own.current.version)


async def test_a_follower_that_cannot_read_the_policies_in_force_lets_people_stop_things_and_nothing_else(
    store: Store,
) -> None:
    def put(tx: Tx) -> None:
        policy_sets.keep(tx, "later", [("later.yaml", "rules:\n  - id: later\n    whenever: midnight\n")])
        policy_sets.put_in_force(tx, "later")

    await store.write(put)
    book = PolicyBook()
    assert await PolicyFollower(store, book, None).look()
    assert book.current.version == "later"
    assert "later.yaml" in book.error
    for is_person in (True, False):
        inputs = {
            kind: replace(one, action=replace(one.action, is_person=is_person)) for kind, one in sample_inputs().items()
        }
        said = {kind: judging.ask(book.current, Values(one.document())) for kind, one in inputs.items()}
        allowed = {kind for kind, outcomes in said.items() if judging.strictest(outcomes) is Ruling.ALLOW}
        assert allowed == ({"stop_job", "cordon_node", "quarantine_node", "revoke_node"} if is_person else set())
