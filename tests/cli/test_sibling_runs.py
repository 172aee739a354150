"""Results of a sibling run are found by `launch` and copied by `collect`."""

from test_commands import QUICK, SMALL, designspace, fails


def test_launch_names_the_run_that_has_results_and_collect_copies_them(tmp_path, data_root):
    quick = [*QUICK, f"data.root={data_root}"]
    for name, budget in (("a", "[2e5,6e5]"), ("b", "[3e5,7e5]")):
        sampled = designspace("sample", *SMALL, f"space.flops={budget}", "n=3", f"run=runs/{name}", cwd=tmp_path)
        assert sampled.returncode == 0, sampled.stderr
    first = designspace("launch", "run=runs/a", *quick, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "note: runs/b has results" not in first.stdout
    checked = designspace("launch", "run=runs/b", *quick, "dry_run=true", cwd=tmp_path)
    command = "python -m designspace.collect run=runs/b others=runs/a"
    assert f"runs/a has results of 2 of these trials; to copy them instead of training again: {command}" in " ".join(
        checked.stdout.split()
    )
    collected = designspace("collect", "run=runs/b", "others=runs/a", cwd=tmp_path)
    assert collected.returncode == 0, collected.stderr
    assert "shared networks" in collected.stdout
    assert "runs/b/results.csv: 2 done, 0 failed, 0 running, 1 waiting" in collected.stdout
    launched = designspace("launch", "run=runs/b", *quick, cwd=tmp_path)
    assert launched.returncode == 0, launched.stderr
    assert "has results of" not in launched.stdout
    again = designspace("collect", "run=runs/b", "others=runs/a", cwd=tmp_path)
    assert "3 done" in again.stdout
    (tmp_path / "runs" / "b" / "kernels.json").write_text('{"kernels": "other"}')
    refused = designspace("collect", "run=runs/b", "others=runs/a", cwd=tmp_path)
    fails(refused, 2, "They round differently")
