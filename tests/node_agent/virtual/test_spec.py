import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.virtual import MAXIMUM_GPUS, BadSpec, GpuGroup, VirtualSpec, parse_spec
from node_agent.virtual.catalogue import MODELS, find_model, known_words


def describe(spec: VirtualSpec) -> list[tuple[int, str]]:
    return [(group.count, group.model.key) for group in spec.groups]


@pytest.mark.parametrize(
    ("text", "groups", "seed"),
    [
        ("8xH100", [(8, "H100")], 0),
        ("4xA100-80GB", [(4, "A100-80GB")], 0),
        ("4xA100", [(4, "A100-80GB")], 0),
        ("1xa100-40gb", [(1, "A100-40GB")], 0),
        ("2xH100+2xL4", [(2, "H100"), (2, "L4")], 0),
        ("8xH100:seed=7", [(8, "H100")], 7),
        (" 2XT4 + 1xV100 : seed=0", [(2, "T4"), (1, "V100-16GB")], 0),
        ("16xB200", [(16, "B200")], 0),
        ("08xH200", [(8, "H200")], 0),
    ],
)
def test_reads_what_people_write(text: str, groups: list[tuple[int, str]], seed: int) -> None:
    spec = parse_spec(text)
    assert describe(spec) == groups
    assert spec.seed == seed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "write COUNTxMODEL"),
        ("  ", "write COUNTxMODEL"),
        ("H100", "cannot read 'H100'"),
        ("8x", "cannot read '8x'"),
        ("-1xH100", "cannot read '-1xH100'"),
        ("0xH100", "asks for no GPU"),
        ("17xH100", "at most|more than 16"),
        ("9xH100+8xL4", "17 virtual GPUs asked for"),
        ("99999999999999999999xH100", "more than 16"),
        ("8xH1000", "unknown GPU model 'H1000': use one of A100"),
        ("8xH100+", "cannot read ''"),
        ("8xH100:", "unknown option ''"),
        ("8xH100:sead=7", "unknown option 'sead=7'"),
        ("8xH100:seed=-1", "seed must be a whole number"),
        ("8xH100:seed=9999999999", "seed must be a whole number"),
        ("8xH100:seed=1,seed=2", "given twice"),
        ("٨xH100", "cannot read"),
        ("8xH100" * 100, "longer than 200"),
        ("1xH100/", "cannot read the MIG device ''"),
        ("1xH100/8x1g.10gb", "cannot read the MIG device '8x1g.10gb'"),
        ("1xH100/1g.10gb:mig=1", "unknown option"),
    ],
)
def test_a_bad_specification_names_the_part_that_is_wrong(text: str, says: str) -> None:
    with pytest.raises(BadSpec, match=says):
        parse_spec(text)


def test_gpus_of_a_group_are_divided_alike() -> None:
    spec = parse_spec("1xL4+2xH100/3g.40gb/2x1g.10gb")
    assert spec.partitions == ((), *[("3g.40gb", "1g.10gb", "1g.10gb")] * 2)


profiles = st.lists(st.sampled_from(["1g.10gb", "3g.40gb"]), max_size=3).map(tuple)
group = st.builds(GpuGroup, st.integers(1, 4), st.sampled_from(list(MODELS.values())), profiles)


@given(st.lists(group, min_size=1, max_size=4), st.integers(0, 2**31 - 1))
def test_every_specification_survives_being_written_and_read(groups: list[GpuGroup], seed: int) -> None:
    spec = VirtualSpec(tuple(groups), seed)
    assert parse_spec(str(spec)) == spec
    assert len(spec.models) == sum(group.count for group in groups) <= MAXIMUM_GPUS


@given(st.text(alphabet="0123456789xXHhAL4T+:=, seed-GB", max_size=60) | st.text(max_size=60))
def test_any_text_is_read_or_refused_as_a_bad_specification(text: str) -> None:
    try:
        spec = parse_spec(text)
    except BadSpec as error:
        assert str(error)  # noqa: PT017 - either outcome is right; what must hold is that there is no third
    else:
        assert 1 <= len(spec.models) <= MAXIMUM_GPUS


def test_every_word_that_is_offered_is_understood() -> None:
    assert all(find_model(word) is not None for word in known_words())


def test_catalogue_figures_are_consistent() -> None:
    for model in MODELS.values():
        assert model.power_idle_watts < model.power_minimum_watts < model.power_limit_watts, model.key
        assert model.full_load_celsius < model.slowdown_celsius < model.shutdown_celsius, model.key
        assert model.sm_clock_idle_mhz < model.sm_clock_mhz, model.key
        assert model.pci_device_id & 0xFFFF == 0x10DE, model.key
        assert model.reserved_bytes < model.memory_bytes, model.key
