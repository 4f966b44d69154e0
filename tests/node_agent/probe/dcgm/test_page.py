import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.probe.dcgm.page import MAXIMUM_LABELS, DcgmPage, KnownLabels, read_sample
from node_agent.probe.dcgm.reading import DcgmGpu, TooMuch
from tests.node_agent.probe.dcgm.pages import BLANKS, MIG, MODEL, NEW, NVLINK, OLD, UUIDS, new_labels, page


def read(text: str | bytes, piece_bytes: int = 1 << 20) -> tuple[dict[str, DcgmGpu], DcgmPage]:
    data, pages = text if isinstance(text, bytes) else text.encode(), DcgmPage()
    for start in range(0, len(data), piece_bytes):
        pages.feed(data[start : start + piece_bytes])
    return pages.end()[0], pages


def read_twice(text: str) -> tuple[DcgmPage, DcgmPage]:
    """Read a page with nothing known, and again with what is known then of its labels."""
    known: KnownLabels = {}
    first, second = DcgmPage(known), DcgmPage(known)
    for pages in (first, second):
        pages.feed(text.encode())
    return first, second


@pytest.mark.parametrize("text", [OLD, NEW])
def test_old_and_new_labels_give_the_same_figures(text: str) -> None:
    gpus, pages = read(text)
    assert list(gpus) == list(UUIDS)
    assert pages.hostname == "gpu-host-1"
    gpu = gpus[UUIDS[1]]
    assert (gpu.index, gpu.model_name) == ("1", MODEL)
    assert gpu.figures["DCGM_FI_DEV_POWER_USAGE"] == 118.742
    assert gpu.figures["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == 5123456789
    assert "DCGM_FI_PROF_GR_ENGINE_ACTIVE" not in gpu.figures


@pytest.mark.parametrize("piece_bytes", [1, 7, 64, 4096])
def test_a_page_may_arrive_in_any_pieces(piece_bytes: int) -> None:
    assert read(NEW, piece_bytes)[0] == read(NEW)[0]


def test_a_page_whose_last_line_has_no_end_is_whole() -> None:
    assert read(NEW.rstrip("\n"))[0] == read(NEW)[0]


@pytest.mark.parametrize("blank", BLANKS)
def test_blanks_are_no_figures(blank: str) -> None:
    gpus, _ = read(page(new_labels(0), DCGM_FI_DEV_MEMORY_TEMP=blank))
    assert "DCGM_FI_DEV_MEMORY_TEMP" not in gpus[UUIDS[0]].figures
    assert gpus[UUIDS[0]].figures["DCGM_FI_DEV_GPU_TEMP"] == 44


@pytest.mark.parametrize("value", ["2147483631", "9223372036854775791", "4294967296", "0", "140737488355327"])
def test_large_figures_near_the_blanks_are_figures(value: str) -> None:
    gpus, _ = read(page(new_labels(0), DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION=value))
    assert gpus[UUIDS[0]].figures["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == int(value)


def test_names_that_collectors_lengthened_are_mapped_back() -> None:
    lengthened = NEW
    for name in ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER"):
        lengthened = lengthened.replace(f"{name}{{", f"{name}_total{{")
    assert "TOTAL_total" in lengthened
    assert read(lengthened)[0] == read(NEW)[0]


def test_series_of_links_are_kept_by_link_and_not_added_to_the_gpu() -> None:
    gpus, _ = read(NVLINK)
    (gpu,) = gpus.values()
    name = "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL"
    assert gpu.links == {0: {name: 5}, 17: {name: 6}}
    assert gpu.figures == {}
    assert gpu.model_name == MODEL


def test_figures_of_mig_instances_are_not_the_gpus() -> None:
    (gpu,) = read(MIG)[0].values()
    assert gpu.figures == {"DCGM_FI_DEV_GPU_TEMP": 44}
    (whole,) = read(MIG + "\n" + page(new_labels(0)))[0].values()
    assert whole.figures["DCGM_FI_DEV_FB_USED"] == 41559


def test_a_gpu_that_several_pods_share_is_counted_once() -> None:
    shared = [f'{new_labels(0)},pod="{pod}",namespace="x"' for pod in ("a", "b")]
    (gpu,) = read(page(*shared))[0].values()
    assert gpu.figures["DCGM_FI_DEV_FB_USED"] == 41559
    assert gpu.figures["DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"] == 7


@pytest.mark.parametrize(
    "bad",
    [
        'DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID=oops} 3',
        'DCGM_FI_DEV_GPU_TEMP{gpu="0" 3',
        'DCGM_FI_DEV_GPU_TEMP{gpu="0",gpu="1"} 3',
        'DCGM_FI_DEV_GPU_TEMP{ ="x"} 3',
        "DCGM_FI_DEV_GPU_TEMP{} three",
        "DCGM_FI_DEV_GPU_TEMP{} 1_000",
        f"DCGM_FI_DEV_GPU_TEMP{{}} 1{'0' * 400}",
        f"DCGM_FI_DEV_GPU_TEMP{{}} 1 1{'0' * 400}",
        f"DCGM_FI_DEV_GPU_TEMP{{}} {'9' * 5000}",
        "DCGM_FI_DEV_GPU_TEMP",
    ],
)
def test_a_line_that_cannot_be_read_is_counted_and_the_rest_is_read(bad: str) -> None:
    pages = DcgmPage()
    pages.feed(f"{bad}\n".encode() + NEW.encode())
    gpus, unreadable = pages.end()
    assert unreadable == (1 if " " in bad else 0)
    assert gpus == read(NEW)[0]


def test_labels_with_quotes_braces_commas_and_line_ends_are_read() -> None:
    (gpu,) = read(page(new_labels(0).replace(MODEL, r"odd } {,= \" \\ name\n")))[0].values()
    assert gpu.model_name == 'odd } {,= " \\ name'


def test_text_of_labels_is_bounded_and_printable() -> None:
    (gpu,) = read(page(new_labels(0).replace(MODEL, "\x1b[31m" + "x" * 1000)))[0].values()
    assert gpu.model_name.startswith("?[31mx")
    assert gpu.model_name.isprintable()
    assert len(gpu.model_name) == 256


def test_uuids_that_are_none_are_left_out() -> None:
    text = NEW.replace(UUIDS[0], "../../etc").replace(UUIDS[1], "GPU-" + "a" * 500)
    assert read(text)[0] == {}


def test_a_line_without_end_and_floods_of_gpus_and_series_are_refused() -> None:
    with pytest.raises(TooMuch, match="line"):
        read(b"DCGM_FI_DEV_GPU_TEMP{" + b"x" * 100_000, 1000)
    many = "\n".join(f'DCGM_FI_DEV_GPU_TEMP{{UUID="GPU-{number}"}} 1' for number in range(100))
    with pytest.raises(TooMuch, match="64 GPUs"):
        read(many + "\n")
    with pytest.raises(TooMuch, match="series"):
        read("\n".join(f'DCGM_FI_DEV_GPU_TEMP{{pod="{number}"}} 1' for number in range(20_000)) + "\n")


def test_a_long_line_within_a_piece_costs_that_line_alone() -> None:
    long = f'DCGM_FI_DEV_GPU_TEMP{{UUID="{UUIDS[0]}",pod="{"x" * 5000}"}} 99\n'
    assert read(long + NEW)[0] == read(NEW)[0]


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_garbage_is_survived(data: bytes) -> None:
    read(b"DCGM_FI_DEV_GPU_TEMP{" + data + b"\nDCGM_FI_DEV_GPU_TEMP" + data)


@settings(deadline=None)
@given(st.text(alphabet='"\\{}=,# \t_a1\n\r\0é', max_size=60))
def test_garbage_of_the_formats_own_characters_is_survived(text: str) -> None:
    read(f'DCGM_FI_DEV_GPU_TEMP{{{text}\nDCGM_FI_DEV_GPU_TEMP{{UUID="GPU-1"{text}}} 1\nDCGM_FI_DEV_GPU_TEMP {text}\n')


@settings(deadline=None)
@given(st.text(max_size=80))
def test_figures_are_numbers_or_left_out(text: str) -> None:
    gpus, _ = read(f'DCGM_FI_DEV_GPU_TEMP{{UUID="GPU-1"}} {text}\n')
    assert all(math.isfinite(value) for gpu in gpus.values() for value in gpu.figures.values())


@pytest.mark.parametrize(
    "text", [OLD, NEW, NVLINK, MIG, *(page(new_labels(0), DCGM_FI_DEV_GPU_TEMP=b) for b in BLANKS)]
)
def test_known_labels_change_nothing_about_what_is_read(text: str) -> None:
    first, second = read_twice(text)
    assert first.end() == second.end()
    assert first.hostname == second.hostname


@settings(deadline=None)
@given(st.text(alphabet='"\\{}=,# \t_a1\ré', max_size=40), st.text(alphabet="0123456789.eE+-_ naif{}\r", max_size=25))
def test_known_labels_change_nothing_about_garbage(labels: str, value: str) -> None:
    known = 'DCGM_FI_DEV_GPU_TEMP{UUID="GPU-1"} 1\n'
    first, second = read_twice(
        f'{known}DCGM_FI_DEV_PSTATE{{UUID="GPU-1"}} {value}\nDCGM_FI_DEV_POWER_USAGE{{{labels}}} 3\n'
    )
    assert first.end() == second.end()
    library = read_sample(f'A{{UUID="GPU-1"}} {value}'.encode())
    fresh, _ = read(known + f'DCGM_FI_DEV_XID_ERRORS{{UUID="GPU-1"}} {value}')
    figure = fresh["GPU-1"].figures.get("DCGM_FI_DEV_XID_ERRORS")
    assert figure is None or (library is not None and figure == library.value and type(figure) is type(library.value))


def test_what_is_known_of_labels_is_bounded() -> None:
    known: KnownLabels = {}
    pages = DcgmPage(known)
    for number in range(2 * MAXIMUM_LABELS + 5):
        pages.feed(f'DCGM_FI_DEV_GPU_TEMP{{UUID="GPU-1",pod="{number}"}} {number}\n'.encode())
    assert len(known) <= MAXIMUM_LABELS
    assert pages.end()[0]["GPU-1"].figures == {"DCGM_FI_DEV_GPU_TEMP": 2 * MAXIMUM_LABELS + 4}


def test_a_sample_is_read_with_its_labels_and_whole_numbers_without_loss() -> None:
    sample = read_sample(rb'A{x="1\"",y=""} 9007199254740993 1700000000000')
    assert sample is not None
    assert (sample.name, sample.labels, sample.value) == ("A", {"x": '1"', "y": ""}, 9007199254740993)


def test_a_host_without_an_exporter_does_not_carry_the_parser_and_none_carries_the_rest_of_its_package() -> None:
    script = """
import sys
import node_agent.daemon
from node_agent.clock import SystemClock
from node_agent.probe.dcgm import DcgmClient
print("prometheus_client.parser" in sys.modules)
DcgmClient("http://127.0.0.1:9400", SystemClock())
print("prometheus_client.parser" in sys.modules, "prometheus_client.exposition" in sys.modules)
import prometheus_client
print(prometheus_client.generate_latest is not None)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == ["False", "True", "False", "True"]
