"""k-means on IoU."""

import numpy as np
import pytest

from lookonce.darknet.anchors import cluster_anchors
from lookonce.errors import LookonceError


def test_three_tight_groups_are_found_for_any_seed():
    rng = np.random.default_rng(0)
    groups = np.array([[10, 20], [50, 40], [200, 220]])
    sizes = np.concatenate([group + rng.normal(0, 0.3, (40, 2)) for group in groups])
    for seed in range(5):
        found = cluster_anchors(sizes, 3, seed)
        np.testing.assert_allclose(found.sizes, groups, atol=0.5)
        assert found.average_iou > 0.95


def test_same_seed_same_anchors():
    sizes = np.random.default_rng(1).uniform(5, 300, (500, 2))
    np.testing.assert_array_equal(cluster_anchors(sizes, 9, 3).sizes, cluster_anchors(sizes, 9, 3).sizes)


def test_one_cluster_per_distinct_box_leaves_none_empty():
    sizes = np.array([[10, 10], [10, 10], [20, 20], [40, 10], [40, 10]])
    found = cluster_anchors(sizes, 3)
    assert {tuple(size) for size in found.sizes.tolist()} == {(10, 10), (20, 20), (40, 10)}
    assert found.average_iou == pytest.approx(1)


@pytest.mark.parametrize(("count", "message"), [(0, "0 anchors"), (4, "2 distinct")])
def test_invalid_counts_are_refused(count, message):
    with pytest.raises(LookonceError, match=message):
        cluster_anchors(np.array([[1, 1], [2, 2], [2, 2]]), count)


def test_command_prints_anchors_for_a_cfg_and_plots(shared, tmp_path, capsys):
    from lookonce.cli.main import main

    plot = tmp_path / "anchors.png"
    assert main(["anchors", str(shared / "data" / "bccd"), "-k", "6", "--plot", str(plot)]) == 0
    anchors, average = capsys.readouterr().out.splitlines()
    sizes = np.array([float(number) for number in anchors.split(",")]).reshape(6, 2)
    assert (np.diff(sizes.prod(axis=1)) > 0).all()
    assert "at 416x320" in average
    assert float(average.split()[2]) > 0.8
    assert plot.stat().st_size > 1000


def test_command_reports_invalid_counts(shared, capsys):
    from lookonce.cli.main import main

    assert main(["anchors", str(shared / "data" / "bccd"), "-k", "0"]) == 1
    assert "0 anchors" in capsys.readouterr().err
