"""Darknet's files: cfg text to layers and back, weights to arrays and back, the zoo of known networks."""

from lookonce.darknet.cfg import Cfg, CfgError, Head, Section, parse_cfg, read_cfg
from lookonce.darknet.layers import ConvShape, Layer, plan, total_stride

__all__ = [
    "Cfg",
    "CfgError",
    "ConvShape",
    "Head",
    "Layer",
    "Section",
    "parse_cfg",
    "plan",
    "read_cfg",
    "total_stride",
]
