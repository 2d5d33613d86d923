"""Reproduction of the paper's figures and claims: ``multispin reproduce``."""

from multispin_env.registry import Registry

FIGURES: Registry = Registry(
    "figure",
    "multispin_lab.reproduce.figure:FigureSpec",
    {
        "draft-length": "multispin_lab.reproduce.sweeps:DRAFT_LENGTH",
        "bandwidth": "multispin_lab.reproduce.sweeps:BANDWIDTH",
        "users": "multispin_lab.reproduce.sweeps:USERS",
        "devices": "multispin_lab.reproduce.allocations:DEVICES",
        "remark-2": "multispin_lab.reproduce.allocations:REMARK_2",
        "verification": "multispin_lab.reproduce.sweeps:VERIFICATION",
        "calibration": "multispin_lab.reproduce.optimum:CALIBRATION",
        "recorded": "multispin_lab.reproduce.sweeps:RECORDED",
        "certificate": "multispin_lab.reproduce.optimum:REGRETS",
        "claims": "multispin_lab.reproduce.claims:CLAIMS",
    },
)
