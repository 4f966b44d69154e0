"""Policies come into force from a folder while everything runs, and wrong ones never do."""

import shutil
from pathlib import Path

import pytest

from control_plane.agents.policies import Policies
from control_plane.errors import InvalidArgument, Unavailable
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.policy_loading import PolicyLoader
from control_plane.model.action import ActionState
from control_plane.store import policy_sets
from control_plane.store.database import Store, Tx
from tests.control_plane.world import World, spec

DENY = "rules:\n  - {id: no, when: action.kind == 'launch_jobs', then: deny, message: never}\n"
ALLOW = DENY.replace("deny", "allow")
BROKEN = DENY.replace("action.kind", "action.knd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "policies"
    path.mkdir()
    return path


def loader_of(store: Store, folder: Path | None) -> tuple[PolicyLoader, PolicyBook]:
    book = PolicyBook()
    return PolicyLoader(store, book, folder), book


async def settle(loader: PolicyLoader) -> str:
    """Look as often as a change needs to be taken."""
    return await loader.look() + await loader.look()


async def test_without_a_folder_there_are_no_rules(sqlite_store: Store) -> None:
    loader, book = loader_of(sqlite_store, None)
    await loader.start()
    assert (book.current.rules, book.folder, await settle(loader)) == ((), "", "")


async def test_files_are_in_force_from_the_start_and_change_while_it_runs(world: World, folder: Path) -> None:
    (folder / "a.yaml").write_text(DENY)
    loader = PolicyLoader(world.store, world.governor.policies, folder)
    await loader.start()
    user = await world.user()
    assert (await world.launch(user, spec("a"))).state is ActionState.DENIED
    (folder / "a.yaml").write_text(ALLOW)
    assert await settle(loader) == "1 rules of 1 files are in force"
    allowed = await world.launch(user, spec("b"))
    assert allowed.state is ActionState.DONE
    assert await settle(loader) == ""
    (folder / "a.yaml").write_text("rules: []\n")
    assert await settle(loader) == "0 rules of 1 files are in force"


async def test_files_that_are_deleted_take_no_rule_away(world: World, folder: Path) -> None:
    (folder / "a.yaml").write_text(DENY)
    book = world.governor.policies
    loader = PolicyLoader(world.store, book, folder)
    await loader.start()
    (folder / "a.yaml").unlink()
    assert "those before stay in force" in await settle(loader)
    assert book.error == (
        f"there is no policy file in {folder}, so those in force stay; "
        "to lift them all, put a file with rules: [] there"
    )
    assert (await world.launch(await world.user(), spec("a"))).state is ActionState.DENIED
    (folder / "b.yaml").write_text(DENY)
    await settle(loader)
    assert (book.error, len(book.current.rules)) == ("", 1)


@pytest.mark.parametrize("has_folder", [True, False], ids=["empty folder", "no folder"])
async def test_a_replica_without_files_that_leads_leaves_in_force_what_is(
    store: Store, folder: Path, tmp_path: Path, has_folder: bool
) -> None:
    (folder / "a.yaml").write_text(DENY)
    first, book = loader_of(store, folder)
    await first.start()
    bare = tmp_path / "bare"
    bare.mkdir()
    second, after = loader_of(store, bare if has_folder else None)
    await second.start()
    assert (after.current.version, len(after.current.rules)) == (book.current.version, 1)
    assert "so those in force stay" in after.error
    in_force = await store.read(policy_sets.in_force)
    assert in_force is not None
    assert in_force.version == book.current.version
    assert await settle(second) == ""
    third, again = loader_of(store, folder)
    await third.start()
    assert (again.current.version, again.error) == (book.current.version, "")


async def test_a_leader_without_files_that_cannot_read_the_rules_in_force_refuses_all_but_stopping(
    world: World, tmp_path: Path
) -> None:
    def of_a_later_version(tx: Tx) -> None:
        policy_sets.keep(tx, "f" * 64, [("a.yaml", "rules:\n  - {id: no, when: tomorrow.kind == 1, then: deny}\n")])
        policy_sets.put_in_force(tx, "f" * 64)

    await world.store.write(of_a_later_version)
    book = world.governor.policies
    await PolicyLoader(world.store, book, None).start()
    assert book.current.version == "f" * 64
    assert (await world.launch(await world.user(), spec("a"))).state is ActionState.DENIED
    assert "tomorrow" in book.error


async def test_a_broken_file_keeps_the_rules_before_and_says_so(world: World, folder: Path) -> None:
    (folder / "a.yaml").write_text(DENY)
    book = world.governor.policies
    loader = PolicyLoader(world.store, book, folder)
    await loader.start()
    version = book.current.version
    (folder / "a.yaml").write_text(BROKEN)
    assert "those before stay in force" in await settle(loader)
    assert book.current.version == version
    assert book.error == "a.yaml:2: rule no: when: action (record) has no field knd; did you mean kind?"
    assert (await world.launch(await world.user(), spec("a"))).state is ActionState.DENIED
    assert await settle(loader) == ""  # it is told once
    (folder / "a.yaml").write_text(DENY)
    await settle(loader)
    assert (book.error, book.current.version) == ("", version)
    told = [record.action for record in await world.audit(agent_name="policy_keeper")]
    assert told == ["policies.loaded", "policies.refused", "policies.loaded"]


async def test_one_broken_file_among_right_ones_changes_nothing_of_any(world: World, folder: Path) -> None:
    (folder / "a.yaml").write_text(DENY)
    loader = PolicyLoader(world.store, world.governor.policies, folder)
    await loader.start()
    (folder / "a.yaml").write_text(ALLOW)
    (folder / "b.yaml").write_text("rules: [")
    await settle(loader)
    assert (await world.launch(await world.user(), spec("a"))).state is ActionState.DENIED


async def test_a_file_that_is_still_being_written_is_not_taken(sqlite_store: Store, folder: Path) -> None:
    loader, book = loader_of(sqlite_store, folder)
    await loader.start()
    for size in (1, 2, 3):
        (folder / "a.yaml").write_text("rules: []\n" + "#" * size)
        assert await loader.look() == ""
    assert not book.current.files
    await loader.look()
    assert book.current.files


async def test_a_change_that_could_not_be_written_down_is_taken_once_it_can(
    sqlite_store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.yaml").write_text(ALLOW)
    loader, book = loader_of(sqlite_store, folder)
    await loader.start()
    (folder / "a.yaml").write_text(DENY)

    async def away(*_: object) -> None:
        raise Unavailable("the database is away")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(sqlite_store, "write", away)
        with pytest.raises(Unavailable):
            await settle(loader)
    assert book.current.files[0].text == ALLOW
    assert await settle(loader) == "1 rules of 1 files are in force"
    assert book.current.files[0].text == DENY


async def test_a_folder_that_vanishes_takes_no_rule_away(sqlite_store: Store, folder: Path) -> None:
    (folder / "a.yaml").write_text(DENY)
    loader, book = loader_of(sqlite_store, folder)
    await loader.start()
    away = shutil.move(folder, folder.with_name("away"))
    await settle(loader)
    assert len(book.current.rules) == 1
    assert "cannot be read" in book.error
    shutil.move(away, folder)
    await settle(loader)
    assert book.error == ""


async def test_what_is_no_policy_file_is_left_alone(sqlite_store: Store, folder: Path) -> None:
    for name in ("a.test.yaml", ".hidden.yaml", "README.md", "a.yaml~"):
        (folder / name).write_text("not a policy [")
    loader, book = loader_of(sqlite_store, folder)
    await loader.start()
    assert book.current.files == ()


async def test_a_file_that_is_no_text_is_wrong(sqlite_store: Store, folder: Path) -> None:
    loader, book = loader_of(sqlite_store, folder)
    await loader.start()
    (folder / "a.yaml").write_bytes(b"\xff\xfe")
    await settle(loader)
    assert book.error == "a.yaml: is not UTF-8 text"


async def test_a_start_with_wrong_files_goes_on_with_the_last_right_ones(sqlite_store: Store, folder: Path) -> None:
    (folder / "a.yaml").write_text(DENY)
    first, book = loader_of(sqlite_store, folder)
    await first.start()
    version = book.current.version
    (folder / "a.yaml").write_text(BROKEN)
    second, after = loader_of(sqlite_store, folder)
    await second.start()
    assert (after.current.version, len(after.current.rules)) == (version, 1)
    assert "did you mean kind?" in after.error


async def test_a_first_start_with_wrong_files_is_refused(sqlite_store: Store, folder: Path) -> None:
    (folder / "a.yaml").write_text(BROKEN)
    loader, _ = loader_of(sqlite_store, folder)
    with pytest.raises(InvalidArgument, match="did you mean kind"):
        await loader.start()


async def test_every_version_that_was_in_force_is_kept_with_its_files(store: Store, folder: Path) -> None:
    loader, book = loader_of(store, folder)
    await loader.start()
    versions = [book.current.version]
    for text in (DENY, ALLOW):
        (folder / "a.yaml").write_text(text)
        await settle(loader)
        versions.append(book.current.version)
    assert len(set(versions)) == 3
    kept = [await store.read(lambda tx, one=one: policy_sets.get(tx, one)) for one in versions]  # type: ignore[misc] # a default of a lambda
    assert [None if one is None else one.files for one in kept] == [
        (),
        (("a.yaml", DENY),),
        (("a.yaml", ALLOW),),
    ]


async def test_the_agent_looks_and_says_what_it_did(world: World, folder: Path) -> None:
    loader = PolicyLoader(world.store, world.governor.policies, folder)
    await loader.start()
    agent = Policies(world.store, loader)
    assert await agent.round() == ""
    (folder / "a.yaml").write_text(DENY)
    assert await agent.round() == ""
    assert await agent.round() == "1 rules of 1 files are in force"
