"""Darknet's files: cfg text to layers and back, weights to arrays and back, the zoo of known networks."""

from lookonce.darknet.cfg import Cfg, CfgError, Head, Section, parse_cfg, read_cfg
from lookonce.darknet.layers import ConvShape, Layer, layer_strides, plan, total_stride
from lookonce.darknet.zoo import NAMES, customise, generate, published, spread

__all__ = [
    "NAMES",
    "Cfg",
    "CfgError",
    "ConvShape",
    "Head",
    "Layer",
    "Section",
    "customise",
    "generate",
    "layer_strides",
    "parse_cfg",
    "plan",
    "published",
    "read_cfg",
    "spread",
    "total_stride",
]
