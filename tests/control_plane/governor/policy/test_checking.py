"""What is wrong with policy files is found before they are used, with the line it is in."""

import pytest

from control_plane.governor.policy.checking import check, version_of
from control_plane.governor.policy.model import FILES_MAX, RULES_MAX, PolicyFile
from control_plane.governor.ruling import Ruling
from control_plane.model.approval import ApprovalNeed

GOOD = """\
rules:
  - id: big
    when: est.usd > 100.0
    then: require_approval
    approvals: {count: 2, from: [admin, ada@example.com], ttl: 8h}
    message: dear
"""


def rule(when: str = "true", then: str = "deny", more: str = "") -> str:
    return f"rules:\n  - id: one\n    when: {when}\n    then: {then}\n    message: why\n{more}"


def faults(text: str, name: str = "a.yaml") -> list[tuple[int, str, str]]:
    policies, found = check([PolicyFile(name, text)])
    assert (policies is None) == bool(found)
    return [(fault.line, fault.rule_id, fault.text) for fault in found]


def test_a_right_file_becomes_rules() -> None:
    policies, found = check([PolicyFile("a.yaml", GOOD)])
    assert not found
    assert policies is not None
    (one,) = policies.rules
    assert (one.id, one.file, one.line, one.then, one.message) == (
        "big",
        "a.yaml",
        2,
        Ruling.REQUIRE_APPROVAL,
        "dear",
    )
    assert one.need == ApprovalNeed(2, ("admin", "ada@example.com"), 8 * 3600)
    assert one.when.paths == ("est.usd",)


def test_a_file_without_rules_is_an_empty_set() -> None:
    assert not faults("")
    assert not faults("# nothing yet\n")
    assert not faults("rules: []\n")


def test_the_version_is_that_of_names_and_texts() -> None:
    a, b = PolicyFile("a.yaml", GOOD), PolicyFile("b.yaml", "")
    assert version_of([a, b]) == version_of([b, a])
    versions = {version_of(files) for files in ([], [a], [a, b], [PolicyFile("a.yaml", GOOD + " ")])}
    assert len(versions) == 4
    # What one file ends with cannot be moved into the next one's name.
    assert version_of([PolicyFile("a", "bc")]) != version_of([PolicyFile("ab", "c")])


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("rules:\n  - id: one\n    whem: 'true'\n", 3, "there is no 'whem' here; did you mean when?"),
        ("rulez: []\n", 1, "did you mean rules?"),
        (rule(then="maybe"), 4, "it should be allow, deny, require_approval or dry_run_only"),
        (rule() + "    id: two\n", 6, "id is there twice, first in line 2"),
        (rule() + rule().removeprefix("rules:\n"), 6, "the id one is there twice, first in a.yaml:2"),
        (rule().replace("id: one", "id: One!"), 2, "an id is"),
        (rule().replace("    message: why\n", ""), 2, "message is missing"),
        (rule(more="    approvals: {count: 2}\n"), 6, "only a rule with then: require_approval has approvals"),
        (rule(then="require_approval", more="    approvals: {count: 0}\n"), 6, "count should be a number from 1"),
        (rule(then="require_approval", more="    approvals: {count: true}\n"), 6, "count should be a number"),
        (rule(then="require_approval", more="    approvals: {from: [nobody]}\n"), 6, "can approve nothing"),
        (rule(then="require_approval", more="    approvals: {from: [viewer]}\n"), 6, "can approve nothing"),
        (rule(then="require_approval", more="    approvals: {ttl: 1s}\n"), 6, "ttl is from 1m to 7d"),
        (rule(then="require_approval", more="    approvals: {not: me}\n"), 6, "there is no 'not' here"),
        (rule(when="est.usd >"), 3, "Syntax error"),
        (rule(when="est.dollars > 1.0"), 3, "est (record) has no field dollars"),
        (rule(when="actions.kind == 'x'"), 3, "there is no variable actions; did you mean action?"),
        (rule(when="has(action.knd)"), 3, "did you mean kind?"),
        (rule(when="est.usd"), 3, "not true or false"),
        (rule(when="est.usd > 'a'"), 3, "fails for an action launch_jobs"),
        (rule(when="\"action.node.labels['zone'] == 'a'\""), 3, "there is no key 'zone'; ask first with: 'zone' in"),
        (rule(when="action.jobs[7].gpus > 1"), 3, "out of bounds"),
        (rule(when="now() > 1"), 3, "there is no function now()"),
        (rule(when="action.kind.lower() == 'x'"), 3, "there is no method .lower()"),
        ("rules:\n  - when: &x true\n    id: *x\n", 3, "uses an anchor"),
        ("rules: !!python/object/apply:os.system ['id']\n", 1, "uses the tag"),
        ("rules: [\n", 2, "is not YAML"),
        ("- a\n- b\n", 1, "should hold names and values"),
        ("rules: none\n", 1, "rules should be a list"),
        ("rules: [1]\n", 1, "should have names and values"),
        ("freezes:\n  - {id: f, window: tomorrow, reason: r}\n", 2, "should look like"),
        ("freezes:\n  - {id: f, window: 2026-02-01T00:00Z/2026-01-01T00:00Z, reason: r}\n", 2, "ends after it starts"),
        ("freezes:\n  - {id: f, window: 2026-01-01T00:00/2026-01-02T00:00Z, reason: r}\n", 2, "has no zone"),
    ],
    ids=lambda value: None if isinstance(value, int) else value.encode("unicode_escape").decode()[:50],
)
def test_each_fault_is_found_with_its_line(text: str, line: int, part: str) -> None:
    found = faults(text)
    assert any(at == line and part in said for at, _, said in found), found


def test_every_fault_of_a_file_is_told_at_once() -> None:
    text = (
        rule(when="est.dollars > 1.0", then="maybe") + "  - id: two\n    when: nope\n    then: deny\n    message: m\n"
    )
    assert [(line, about) for line, about, _ in faults(text)] == [(3, "one"), (4, "one"), (7, "two")]


def test_an_id_is_unique_over_all_files() -> None:
    _, found = check([PolicyFile("a.yaml", rule()), PolicyFile("b.yaml", rule())])
    assert [(fault.file, fault.line) for fault in found] == [("b.yaml", 2)]


@pytest.mark.parametrize("name", ["../a.yaml", "a", "a.json", ".yaml", "a b.yaml", "a.yaml\n"])
def test_a_file_has_a_plain_name(name: str) -> None:
    assert faults("", name)


def test_everything_is_bounded() -> None:
    assert "is larger than 256 KiB" in faults("#" * (256 * 1024 + 1))[0][2]
    assert "at most 64 are allowed" in check([PolicyFile(f"f{n}.yaml", "") for n in range(FILES_MAX + 1)])[1][0].text
    assert "512 KiB together" in check([PolicyFile(f"f{n}.yaml", "#" * 200_000) for n in range(3)])[1][0].text
    rules = "".join(f"  - {{id: r{n}, when: 'true', then: allow, message: m}}\n" for n in range(RULES_MAX + 1))
    assert f"there are more than {RULES_MAX} rules" in faults("rules:\n" + rules)[0][2]
    assert "deeper than" in faults("rules: " + "[" * 40 + "]" * 40)[0][2]
    assert faults("rules: " + "[" * 100_000)
    assert "has 1006 characters" in faults(rule(when=f"'true{chr(32) * 996}||true'"))[0][2]
    many = check([PolicyFile("a.yaml", "".join(f"x{n}: 1\n" for n in range(500)))])[1]
    assert len(many) == 100


def test_what_a_hostile_file_says_is_shown_on_one_printable_line() -> None:
    for _, _, text in faults('"\\e[31m\\nboo": 1\n'):
        assert text.isprintable()
