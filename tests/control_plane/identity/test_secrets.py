import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nkeys
import pytest

from control_plane.identity.secrets import SecretBox
from tests.control_plane.identity.conftest import reason_of


def test_secrets_are_made_once_and_kept_private(tmp_path: Path) -> None:
    made = SecretBox.load_or_create(tmp_path / "secrets")
    again = SecretBox.load_or_create(tmp_path / "secrets")

    assert made == again
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "secrets").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert len({made.jwt_key, made.derivation_key, bytes.fromhex(made.nats_control_password)}) == 3
    assert {len(made.jwt_key), len(made.derivation_key)} == {32}


def test_every_control_plane_has_its_own_secrets(tmp_path: Path) -> None:
    assert SecretBox.load_or_create(tmp_path / "a") != SecretBox.load_or_create(tmp_path / "b")


def test_first_starts_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        boxes = list(pool.map(lambda _: SecretBox.load_or_create(tmp_path / "secrets"), range(16)))
    assert len({(box.jwt_key, box.nats_issuer_seed) for box in boxes}) == 1


def test_issuer_is_an_account_key(tmp_path: Path) -> None:
    box = SecretBox.load_or_create(tmp_path / "secrets")
    assert box.nats_issuer_seed.startswith(b"SA")
    assert box.nats_issuer_public_key.startswith("A")
    assert len(box.nats_issuer_public_key) == 56


def test_nothing_secret_is_in_the_representation(tmp_path: Path) -> None:
    box = SecretBox.load_or_create(tmp_path / "secrets")
    assert repr(box) == "SecretBox()"


NAMES = ["jwt.key", "derivation.key", "nats-issuer.seed", "nats-control.key"]
USER_SEED = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_USER)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe", b"QUJD", USER_SEED, b"SA" + b"A" * 56])
def test_damaged_secret_is_named_and_left_as_it_is(tmp_path: Path, name: str, content: bytes) -> None:
    SecretBox.load_or_create(tmp_path / "secrets")
    (tmp_path / "secrets" / name).write_bytes(content)
    assert reason_of(lambda: SecretBox.load_or_create(tmp_path / "secrets")) == "KEY_FILE_INVALID"
    assert (tmp_path / "secrets" / name).read_bytes() == content


@pytest.mark.parametrize("name", NAMES)
def test_exposed_secret_is_refused(tmp_path: Path, name: str) -> None:
    SecretBox.load_or_create(tmp_path / "secrets")
    (tmp_path / "secrets" / name).chmod(0o644)
    assert reason_of(lambda: SecretBox.load_or_create(tmp_path / "secrets")) == "KEY_FILE_EXPOSED"


@pytest.mark.parametrize("name", NAMES)
def test_lost_secret_is_made_afresh_and_the_others_stay(tmp_path: Path, name: str) -> None:
    before = SecretBox.load_or_create(tmp_path / "secrets")
    (tmp_path / "secrets" / name).unlink()
    after = SecretBox.load_or_create(tmp_path / "secrets")
    changed = [field for field in before.__slots__ if getattr(before, field) != getattr(after, field)]
    assert len(changed) == 1
