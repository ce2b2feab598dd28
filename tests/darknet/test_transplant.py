from pathlib import Path

from lookonce.darknet import generate, published, random_weights, read_cfg, read_weights, transplant


def test_all_but_the_heads_transfer_to_other_classes() -> None:
    source_cfg = published("yolov3-tiny")
    source = random_weights(source_cfg, 0)
    target = generate("yolov3-tiny", 3)
    result = transplant(source, source_cfg, target)
    assert [row.layer for row in result.rows if not row.taken] == [15, 22]
    assert {row.reason for row in result.rows if not row.taken} == {"255 filters in the file, 24 here"}
    assert result.layers[14] is source.layers[14]
    assert len(result.layers) == 11
    assert result.rows[0].shape == "3x3, 3 to 16"


def test_same_network_transfers_completely() -> None:
    cfg = generate("yolov4-tiny", 2)
    result = transplant(random_weights(cfg, 0), cfg, cfg)
    assert all(row.taken and not row.reason for row in result.rows)


def test_partial_file_reports_where_it_ends(shared: Path) -> None:
    cfg = read_cfg(shared / "weights" / "cfg" / "yolov3-tiny.cfg")
    path = shared / "weights" / "yolov3-tiny-partial" / "yolov3-tiny.real-first5.weights"
    result = transplant(read_weights(path, cfg), cfg, generate("yolov3-tiny", 2))
    assert list(result.layers) == [0, 2, 4, 6, 8]
    assert {row.reason for row in result.rows if not row.taken} == {"file ends at layer 8"}


def test_other_structure_transfers_up_to_the_difference() -> None:
    source_cfg = generate("yolov3", 2)
    result = transplant(random_weights(source_cfg, 0), source_cfg, generate("yolov3-spp", 2))
    assert max(result.layers) == 77
    assert {row.reason for row in result.rows if not row.taken} == {"structure differs from layer 78 on"}


def test_heads_of_equal_width_but_other_classes_are_skipped() -> None:
    source_cfg = generate("yolov3-tiny", 4, [[1, 1]] * 4)  # (4 + 5) * 2 filters
    target = generate("yolov3-tiny", 1, [[1, 1]] * 6)  # (1 + 5) * 3 filters
    result = transplant(random_weights(source_cfg, 0), source_cfg, target)
    left = {row.layer: row.reason for row in result.rows if not row.taken}
    assert left == dict.fromkeys((15, 22), "a head for 4 classes and 2 anchors in the file, 1 and 3 here")


def test_other_widths_name_both_shapes() -> None:
    source_cfg = generate("yolov3-tiny", 2)
    target = source_cfg.replace({0: {"filters": "8"}})
    result = transplant(random_weights(source_cfg, 0), source_cfg, target)
    assert result.rows[0].reason == "16 filters in the file, 8 here"
    assert result.rows[1].reason == "3x3, 16 to 32 in the file, 3x3, 8 to 32 here"
    assert result.rows[2].taken
