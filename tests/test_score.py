"""The score: its arithmetic, its scorers, and the whole process on a micro model with a stand-in judge."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from subjects import COUNT, SUBJECTS, train_a_little

from fsd import pictures
from fsd.data.dataset import held_out_photos
from fsd.data.photos import add_photos, open_photo, square
from fsd.data.session import Session
from fsd.demo import prior_prompts
from fsd.errors import DownloadError, MachineError, RecipeError, SessionError
from fsd.families import get_family
from fsd.generate import metric, scorers
from fsd.generate.models import Model
from fsd.generate.score import Drawn, ScoreRequest, as_table, main, measure, score
from fsd.generate.scorers import DinoClipScorer, JudgeScorer, choose_scorer

RED, GREEN, BLUE = (Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue"))


class ColourScorer:
    """Sees a picture's mean colour and nothing else."""

    name = "colours"
    things = ("a red thing", "a green thing")

    def vectors(self, pictures: Sequence[Image.Image]) -> scorers.Vectors:
        rows = np.array([np.asarray(picture, np.float32).mean((0, 1)) for picture in pictures])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def shows(self, pictures: Sequence[Image.Image], things: Sequence[str]) -> list[bool]:
        names = [self.things[int(row[1] > row[0])] for row in self.vectors(pictures)]
        return [name == thing for name, thing in zip(names, things, strict=True)]


def test_rise_and_drift_are_as_defined() -> None:
    base, trained = Drawn([RED, RED], [RED, GREEN]), Drawn([BLUE, RED], [RED, RED])
    found = measure(ColourScorer(), [BLUE], [BLUE, BLUE], base, trained, ["a red thing", "a green thing"])
    assert (found.likeness_base, found.likeness_trained, found.likeness_real) == (0.0, 0.5, 1.0)
    assert found.rise == 0.5
    assert (found.agreement_base, found.agreement_trained, found.drift, found.same) == (1.0, 0.5, 0.5, 0.5)
    assert "rise 50% of the way" in as_table(found)


def test_a_scorer_that_does_not_see_the_subject_gives_no_rise() -> None:
    assert metric.rise(0.5, 0.7, 0.505) is None
    found = measure(ColourScorer(), [RED], [RED], Drawn([RED], [RED]), Drawn([BLUE], [RED]), ["a red thing"])
    assert found.to_json()["rise"] is None
    assert "rise" not in as_table(found)


def test_subject_seeds_are_four_a_seed_and_never_twice() -> None:
    assert ScoreRequest(seeds=(0, 1)).subject_seeds == tuple(range(8))


class FakeJudge:
    """Names by the strongest colour channel; the vector is the mean colour."""

    def name(self, images: list[Image.Image], top: int = 5) -> list[list[tuple[str, float]]]:
        order = [np.asarray(image, float).mean((0, 1)).argsort()[::-1] for image in images]
        return [[(f"thing {channel}", 0.9) for channel in channels[:top]] for channels in order]

    def embed(self, images: list[Image.Image]) -> scorers.Vectors:
        return ColourScorer().vectors(images)


@pytest.fixture
def judge_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the judge, in the package that the family's record names."""
    package, judge = types.ModuleType("fsd_tiny_base"), types.ModuleType("fsd_tiny_base.judge")
    package.concepts = lambda: [{"name": f"thing {n}", "article": "a"} for n in range(104)]  # type: ignore[attr-defined]
    judge.load_judge = FakeJudge  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fsd_tiny_base", package)
    monkeypatch.setitem(sys.modules, "fsd_tiny_base.judge", judge)


@pytest.mark.usefixtures("judge_package")
def test_the_judge_scores_twenty_things_spread_over_its_concepts() -> None:
    judge = choose_scorer(get_family("tiny"))
    assert isinstance(judge, JudgeScorer)
    assert judge.things == tuple(f"a thing {number}" for number in range(0, 100, 5))
    assert judge.shows([RED, GREEN], ["a thing 0", "a thing 0"]) == [True, False]


def test_a_family_without_a_judge_asks_for_dino_and_clip(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="dino-vits16") as caught:
        choose_scorer(get_family("sd15"))
    assert "--dino and --clip" in caught.value.hint
    with pytest.raises(MachineError, match="no_such_package"):
        JudgeScorer("no_such_package")


def test_the_score_of_a_session(micro_session: Session, judge_package: None) -> None:
    with pytest.raises(SessionError, match="no held-out photos"):
        score(micro_session, ScoreRequest())
    add_photos(micro_session, micro_session.instance_images, hold_out=2)
    with pytest.raises(SessionError, match="nothing is trained"):
        score(micro_session, ScoreRequest())
    train_a_little(micro_session)
    found = main([str(micro_session.folder), "--request", json.dumps({"seeds": [3], "steps": 2})])
    assert found["scorer"] == "fsd_tiny_base judge"
    assert (found["seeds"], found["held_out"]) == ([3], 2)
    assert all(-1 <= found[f"likeness_{which}"] <= 1 for which in ("base", "trained", "real"))
    assert 0 <= found["agreement_trained"] <= 1
    assert found["same"] <= 1
    assert "likeness" in found["table"]
    assert Image.open(found["grid"]).width > 6 * 160
    assert json.dumps(found)


def test_base_and_trained_are_not_taken_for_each_other(
    micro_session: Session, judge_package: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base draws red, which is the first thing asked for of twenty; the trained model draws green."""
    add_photos(micro_session, micro_session.instance_images, hold_out=2)
    train_a_little(micro_session)

    def draw(model: Model, *_: object) -> Drawn:
        colour = GREEN if model.trained else RED
        return Drawn([colour] * 4, [colour] * 20)

    monkeypatch.setattr("fsd.generate.score._draw", draw)
    found = score(micro_session, ScoreRequest(seeds=(0,)))
    assert (found["agreement_base"], found["agreement_trained"], found["drift"]) == (0.05, 0.0, 0.05)
    squares = [square(open_photo(photo.path), photo.box, 64) for photo in held_out_photos(micro_session)]
    likeness = [metric.likeness(FakeJudge().embed([colour]), FakeJudge().embed(squares)) for colour in (RED, GREEN)]
    assert [found["likeness_base"], found["likeness_trained"]] == pytest.approx(likeness, abs=1e-4)
    assert abs(likeness[0] - likeness[1]) > 0.01


@pytest.mark.usefixtures("judge_package")
def test_the_demo_protects_every_concept_that_is_not_scored() -> None:
    scored = {f"a photo of {thing}" for thing in JudgeScorer("fsd_tiny_base").things}
    every = {f"a photo of a thing {number}" for number in range(104)}
    assert set(prior_prompts("box")) == every - scored | {"a photo of box"}


def test_the_verb_passes_on_what_to_look_with(micro_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    train_a_little(micro_session)
    asked = []

    def run(module: str, folder: str, option: str, text: str, handed: dict[str, str]) -> dict[str, str]:
        asked.append(ScoreRequest.from_json(text))
        return {"table": "", "grid": ""}

    monkeypatch.setattr(pictures, "run_stage", run)
    pictures.score(micro_session, seeds=1, dino="a/dino", clip="a/clip")
    assert asked == [ScoreRequest(seeds=(0,), dino="a/dino", clip="a/clip")]


@pytest.mark.parametrize("request_text", ['{"seeds": []}', '{"dino": 3}', '{"prompts": ["x"]}', "[]", "{"])
def test_bad_requests_are_refused(request_text: str) -> None:
    with pytest.raises(RecipeError):
        ScoreRequest.from_json(request_text)


@pytest.mark.parametrize("torchvision", ["wanted", "not wanted"])
def test_dino_and_clip_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torchvision: str) -> None:
    """Random weights of both kinds, saved as their hub folders are: vectors of length 1, and an answer a picture."""
    import torch
    import transformers
    from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel

    def refuse(*_: object) -> None:
        raise ImportError("AutoImageProcessor requires the Torchvision library")

    if torchvision == "wanted":
        monkeypatch.setattr(transformers, "AutoImageProcessor", types.SimpleNamespace(from_pretrained=refuse))
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "hidden_size": 24, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    vision = {**small, "image_size": 32, "patch_size": 16}
    dino, clip = tmp_path / "dino", tmp_path / "clip"
    ViTModel(ViTConfig(**vision)).save_pretrained(dino)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(dino)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(clip)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessorPil(**size).save_pretrained(clip)
    save_tokenizer(clip)
    scorer = choose_scorer(get_family("tiny"), str(dino), str(clip))
    assert isinstance(scorer, DinoClipScorer)
    assert scorer.name == "dino + clip"
    vectors = scorer.vectors([RED, GREEN, BLUE])
    assert vectors.shape == (3, 16)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    every = [scorer.shows([RED], [thing])[0] for thing in scorer.things]
    assert sum(every) == 1
    pooled = scorers._pooled(scorer._clip.get_image_features(torch.zeros(1, 3, 32, 32)))
    assert pooled.shape == (1, 8)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_subject_of_the_proof_has_fourteen_pictures_of_its_own(subject: str, tmp_path: Path) -> None:
    paths = sorted(path for path in SUBJECTS[subject](tmp_path).iterdir())
    shown = {Image.open(path).convert("RGB").resize((16, 16)).tobytes() for path in paths}
    assert len(paths) == len(shown) == COUNT


def save_tokenizer(folder: Path) -> None:
    from fsd_tiny_base import model_folder
    from transformers import CLIPTokenizer

    CLIPTokenizer.from_pretrained(model_folder() / "tokenizer").save_pretrained(folder)
