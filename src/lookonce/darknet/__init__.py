"""Darknet files: cfg text, weights, and a zoo of known networks, in numpy."""

from lookonce.darknet.cfg import Cfg, CfgError, Head, Section, parse_cfg, read_cfg
from lookonce.darknet.fits import Fit, floats_of, known_fits
from lookonce.darknet.layers import (
    LARGEST_LOG_SIZE,
    LEAKY_SLOPE,
    NORM_EPSILON,
    ConvShape,
    Layer,
    layer_strides,
    plan,
    total_stride,
)
from lookonce.darknet.transplant import Row, Transplant, transplant
from lookonce.darknet.weights import (
    ConvWeights,
    DarknetWeights,
    Header,
    WeightsError,
    random_weights,
    read_header,
    read_weights,
    write_weights,
)
from lookonce.darknet.zoo import NAMES, customise, generate, published, spread

__all__ = [
    "LARGEST_LOG_SIZE",
    "LEAKY_SLOPE",
    "NAMES",
    "NORM_EPSILON",
    "Cfg",
    "CfgError",
    "ConvShape",
    "ConvWeights",
    "DarknetWeights",
    "Fit",
    "Head",
    "Header",
    "Layer",
    "Row",
    "Section",
    "Transplant",
    "WeightsError",
    "customise",
    "floats_of",
    "generate",
    "known_fits",
    "layer_strides",
    "parse_cfg",
    "plan",
    "published",
    "random_weights",
    "read_cfg",
    "read_header",
    "read_weights",
    "spread",
    "total_stride",
    "transplant",
    "write_weights",
]
