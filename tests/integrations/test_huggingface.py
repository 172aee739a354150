"""Models on Hugging Face's hub: its own library, against a local server and in its offline mode."""

import json
import os
import subprocess
import sys

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError

import designspace
from designspace.integrations.huggingface import from_pretrained, push_to_hub
from designspace.library.card import model_card
from designspace.library.saved import write_model
from designspace.models import AnyNet, Backbone
from designspace.models.info import ModelInfo, published_info
from designspace.models.weights import Weights, find_weights
from designspace.networks import catalog
from designspace.support.errors import InputError, RunError

# Of the hub's library itself.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
IMAGES = torch.rand(2, 3, 33, 30, generator=torch.Generator().manual_seed(0))


def head_of(card):
    """Return the YAML head of a card, which the hub's own library must be able to read and check."""
    ModelCard(card, ignore_metadata_errors=False)
    return yaml.safe_load(card.split("---\n")[1])


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def test_a_pushed_folder_is_pulled_with_the_same_bits(trained, at_hub, tmp_path):
    url = push_to_hub(trained / "best", "you/best", token="hf_write", commit_message="First")
    commit = url.rpartition("/")[2]
    pushed = at_hub / "you" / "best" / commit
    names = ["README.md", "config.json", "network.json", "weights.safetensors"]
    assert sorted(path.name for path in pushed.iterdir()) == sorted([*names, "preprocessor_config.json"])
    for name in names:
        assert (pushed / name).read_bytes() == (trained / "best" / name).read_bytes()
    best, pulled = designspace.load(trained / "best"), from_pretrained("you/best")
    assert not pulled.training
    assert same(pulled, best)
    assert pulled.weights == best.weights
    cached = {path.name for path in (tmp_path / "cache").rglob("snapshots/*/*")}
    assert cached == {"network.json", "weights.safetensors"}  # nothing else is downloaded
    features = from_pretrained("you/best", revision=commit, features=True, out_indices=(-1,))
    assert torch.equal(features(IMAGES)[0], Backbone(best, (-1,))(IMAGES)[0])
    commits = [line for line in (at_hub / "requests.txt").read_text().splitlines() if "/you/best/commit/" in line]
    assert len(commits) == 1


def test_runs_modules_branches_and_licences(trained, at_hub):
    best = designspace.load(trained / "best")
    push_to_hub(trained / "run", "you/run", token="hf_write", private=True)
    url = push_to_hub(best, "you/run", token="hf_write", revision="try/2", licence="Apache-2.0")
    assert same(from_pretrained("you/run"), best)
    branch = from_pretrained("you/run", revision="try/2")
    assert branch.weights.licence == "Apache-2.0"
    card = (at_hub / "you" / "run" / url.rpartition("/")[2] / "README.md").read_text()
    assert head_of(card)["license"] == "apache-2.0"
    assert "Licence: Apache-2.0" in card
    assert "license" not in head_of((trained / "best" / "README.md").read_text())  # not chosen yet


def test_your_own_card_is_kept_and_earlier_folders_get_a_head(trained, at_hub, tmp_path):
    best = designspace.load(trained / "best")
    folder = tmp_path / "mine"
    write_model(folder, best, best.weights)
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nMy own words.\n")
    (folder / "model.onnx").write_bytes(b"an exported model")
    url = push_to_hub(folder, "you/mine", token="hf_write", licence="a licence of mine")
    pushed = at_hub / "you" / "mine" / url.rpartition("/")[2]
    text = (pushed / "README.md").read_text()
    assert text.endswith("My own words.\n")
    assert (head_of(text)["license"], head_of(text)["license_name"]) == ("other", "a-licence-of-mine")
    assert (pushed / "model.onnx").exists()
    (folder / "model.onnx").unlink()
    (folder / "config.json").unlink()
    card.write_text("# As written by version 0.1\n")
    url = push_to_hub(folder, "you/mine", token="hf_write")
    pushed = at_hub / "you" / "mine" / url.rpartition("/")[2]
    text = (pushed / "README.md").read_text()
    assert head_of(text)["library_name"] == "designspace"
    assert text.endswith("---\n# As written by version 0.1\n")
    assert (pushed / "config.json").exists()
    assert not (pushed / "model.onnx").exists()  # it could have earlier weights


def test_the_head_of_a_card_has_what_the_hub_shows(trained):
    best = designspace.load(trained / "best")
    text = (trained / "best" / "README.md").read_text()
    head = head_of(text)
    assert (head["library_name"], head["pipeline_tag"], head["metrics"]) == (
        "designspace",
        "image-classification",
        ["accuracy"],
    )
    data = ModelCard(text).data
    assert data.eval_results[0].metric_value == pytest.approx(1 - best.weights.result.final_error / 100, abs=1e-6)
    assert (data.eval_results[0].dataset_name, data.eval_results[0].task_type) == ("patterns", "image-classification")
    assert data.model_name == best.weights.name


def test_the_head_of_published_weights():
    file = find_weights("resnest50", "timm")
    info = published_info("resnest50", Weights({}, file, file.preset, "here", file.licence))
    card = model_card(catalog.get("resnest50"), info)
    head = head_of(card)
    assert (head["license"], head["datasets"]) == ("apache-2.0", ["ILSVRC/imagenet-1k"])
    assert [result.metric_value for result in ModelCard(card).data.eval_results] == [
        pytest.approx(file.top1 / 100),
        pytest.approx(file.top5 / 100),
    ]


@pytest.mark.parametrize("name", ["a: b # c", '"quoted"', "- x\n---\n# y", "caf\udce9", "日本"])
def test_names_cannot_break_the_head(name):
    network = catalog.get("regnetx_200mf")
    info = ModelInfo(name, published_info("regnetx_200mf", None).preset, "here", name, published=None)
    card = model_card(network, info).encode(errors="backslashreplace").decode()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "other"


def test_offline_the_cache_is_read(trained, tmp_path):
    """In a process of its own, because the library reads the environment when it is imported."""
    repository = tmp_path / "cache" / "models--you--best"
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for name in ("network.json", "weights.safetensors"):
        (snapshot / name).write_bytes((trained / "best" / name).read_bytes())
    code = """
import sys
from designspace.integrations.huggingface import from_pretrained
model = from_pretrained("you/best", cache_dir=sys.argv[1])
print(model.network.id)
try:
    from_pretrained("you/other", cache_dir=sys.argv[1])
except RuntimeError as error:
    print(error)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "cache")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == [
        designspace.load(trained / "best").network.id,
        "you/other cannot be fetched, and is not in the cache: the hub cannot be reached, or HF_HUB_OFFLINE is set",
    ]


def test_a_folder_here_is_loaded(trained):
    best = designspace.load(trained / "best")
    assert same(from_pretrained(trained / "best"), best)
    assert same(from_pretrained(str(trained / "run")), best)
    with pytest.raises(InputError, match="is a folder and has no revisions"):
        from_pretrained(trained / "best", revision="main")


def test_a_damaged_or_foreign_repository_is_an_error(trained, at_hub, tmp_path):
    push_to_hub(trained / "best", "you/damaged", token="hf_write")
    api = huggingface_hub.HfApi(token="hf_write")
    api.upload_file(path_or_fileobj=b"x" * 100, path_in_repo="weights.safetensors", repo_id="you/damaged")
    with pytest.raises(RunError, match="is not the file that network.json describes"):
        from_pretrained("you/damaged")
    api.create_repo("you/foreign")
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="you/foreign")
    with pytest.raises(InputError, match="you/foreign has no model of designspace: it has no file network.json"):
        from_pretrained("you/foreign")


def test_errors_are_one_sentence(trained, at_hub, monkeypatch):
    with pytest.raises(InputError, match="the hub has no repository you/never, or your token may not read it"):
        from_pretrained("you/never")
    push_to_hub(trained / "best", "you/there", token="hf_write")
    with pytest.raises(InputError, match="the repository you/there has no revision 'v9'"):
        from_pretrained("you/there", revision="v9")
    with pytest.raises(InputError, match="'a/b/c' is neither a folder here nor the name of a repository"):
        from_pretrained("a/b/c")
    with pytest.raises(InputError, match="your token may not write to you/there") as caught:
        push_to_hub(trained / "best", "you/there", token="hf_read")
    assert isinstance(caught.value.__cause__, HfHubHTTPError)
    with pytest.raises(InputError, match="unknown option 'output_strid'"):
        from_pretrained("you/there", output_strid=8)
    with pytest.raises(InputError, match="nothing is known about the weights of this model"):
        push_to_hub(AnyNet(catalog.get("regnetx_200mf")), "you/there", token="hf_write")
    with pytest.raises(InputError, match="a model is a folder or a module AnyNet, not Backbone"):
        push_to_hub(Backbone(AnyNet(catalog.get("regnetx_200mf"))), "you/there", token="hf_write")
    with pytest.raises(InputError, match="neither a run folder .* nor a model folder"):
        push_to_hub("runs/never", "you/there", token="hf_write")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunError, match="the hub cannot be reached for you/there"):
        push_to_hub(trained / "best", "you/there", token="hf_write")


def test_config_json_has_the_network(trained):
    config = json.loads((trained / "best" / "config.json").read_text())
    best = designspace.load(trained / "best")
    assert config["model_type"] == config["library_name"] == "designspace"
    assert designspace.Network.from_dict(config["network"]) == best.network
    assert config["model_args"]["network"] == config["network"]
