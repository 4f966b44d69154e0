import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.probe.model_name import short_model_name
from node_agent.virtual.catalogue import MODELS


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA H100 NVL", "H100"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H200 NVL", "H200"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA H800", "H800"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA GH200 144G HBM3e", "GH200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA B300 SXM6 AC", "B300"),
        ("NVIDIA GB200", "GB200"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA A100-PCIE-40GB", "A100"),
        ("A100-SXM-80GB", "A100"),
        ("GRID A100D-20C", "A100D"),
        ("NVIDIA A800-SXM4-80GB", "A800"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10-4Q", "A10"),
        ("NVIDIA A30", "A30"),
        ("NVIDIA A40", "A40"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
        ("GRID T4-16Q", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Tesla V100-PCIE-32GB", "V100"),
        ("Tesla V100S-PCIE-32GB", "V100S"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("Tesla P4", "P4"),
        ("Tesla K80", "K80"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA GeForce RTX 3080 Ti", "RTX3080TI"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX4070TISUPER"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX4090LAPTOP"),
        ("NVIDIA GeForce RTX 2080 Super with Max-Q Design", "RTX2080SUPER"),
        ("NVIDIA GeForce GTX 1060 6GB", "GTX1060"),
        ("NVIDIA RTX A6000", "RTXA6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX6000ADA"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000"),
        ("Quadro RTX 8000", "RTX8000"),
        ("NVIDIA TITAN V", "TITANV"),
        ("NVIDIA TITAN Xp", "TITANXP"),
        ("NVIDIA Graphics Device", "GRAPHICS"),
        ("NVIDIA", "GPU"),
        ("", "GPU"),
    ],
)
def test_short_names_of_real_products(name: str, model: str) -> None:
    assert short_model_name(name) == model


def test_short_names_of_the_virtual_models_are_what_people_ask_for() -> None:
    for key, model in MODELS.items():
        assert short_model_name(model.name) == key.partition("-")[0]


@given(st.text(max_size=200))
def test_any_name_gives_a_short_word(name: str) -> None:
    model = short_model_name(name)
    assert 1 <= len(model) <= 32
    assert model == model.strip()
