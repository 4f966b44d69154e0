import pytest

from control_plane.errors import InvalidArgument
from control_plane.model.identity import Role

ORDER = [Role.VIEWER, Role.USER, Role.OPERATOR, Role.ADMIN]


@pytest.mark.parametrize("held", ORDER)
@pytest.mark.parametrize("required", ORDER)
def test_role_allows_itself_and_what_is_less(held: Role, required: Role) -> None:
    assert held.allows(required) == (ORDER.index(held) >= ORDER.index(required))


@pytest.mark.parametrize("role", ORDER)
def test_role_parses_by_its_name(role: Role) -> None:
    assert Role.parse(role.value) is role


@pytest.mark.parametrize("text", ["", "root", "Admin", "admin "])
def test_unknown_role_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Role.parse(text)
    assert caught.value.reason == "ROLE_UNKNOWN"
    assert "operator" in caught.value.message
