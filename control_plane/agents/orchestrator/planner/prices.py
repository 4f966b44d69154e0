"""The lowest prices seen for a GPU-hour, to tell what no budget can buy.

Each figure is the lowest price, on demand or spot, in US dollars per GPU and hour, over all regions of
the public price lists of AWS (2026-07-20), Azure, Google Cloud and Vast.ai (2026-05-20; Google machine
types 2026-07-30), Lambda (2026-05-07) and CoreWeave (2026-02), cut down to two digits. Where only
on-demand prices of one cloud are listed (A10G, B300, GB200, GH200, T4G), it is 40 % of them, as
spot capacity goes for that. A floor turns a goal down, so it may be too low but not too high.
"""

from collections.abc import Mapping
from decimal import Decimal

_FLOORS = """
A10:0.20 A100:0.32 A10G:0.40 B200:3.87 B300:7.12 GB200:4.20 GH200:0.91 H100:0.97 H200:2.35 L4:0.07 L40S:0.60
M60:0.21 MI25:0.04 MI300X:1.10 P4:0.05 P100:0.14 T4:0.06 T4G:0.16 V100:0.17 RTX3060:0.05 RTX3090:0.16 RTX4060:0.07
RTX4070:0.19 RTX4090:0.34 RTX5070:0.09 RTX5090:0.40 RTX6000:0.69 RTX6000ADA:0.52 RTXA5000:0.20 RTXA6000:0.40
RTXPRO6000:0.93
"""
FLOOR_PRICE_USD_PER_HOUR: Mapping[str, Decimal] = {
    name: Decimal(price) for name, price in (entry.split(":") for entry in _FLOORS.split())
}
"""Canonical GPU model to the lowest price of one GPU for one hour, in US dollars."""
