"""BLIP-2 and BLIP on tiny models of true architecture: what they say, how well words fit, what they are taught."""

from __future__ import annotations

import errno
import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from micro import make_micro_session
from PIL import Image
from safetensors.torch import load_file
from test_cli import Fsd
from tiny_blip import QUERIES, change_config, make_blip, make_blip2, make_blip2_matcher, make_blip2_t5, without

from fsd.captioner import ask, batching, match, plan, teach, write
from fsd.captioner.batching import ahead, in_batches
from fsd.captioner.matching import directions, embed_pictures, embed_texts, score, similarity
from fsd.captioner.opening import open_captioner
from fsd.captioner.speaking import answer, generation_config, say
from fsd.captioner.taught import ADAPTER, take_adapter
from fsd.data.blip2 import CaptionRequest, captioned, corrected
from fsd.data.caption_history import change_caption
from fsd.data.concept import photos_of
from fsd.data.generation import GENERATION, read_generation
from fsd.data.prompt import caption_file
from fsd.data.session import Session
from fsd.data.wording import Wording, read_replacements
from fsd.errors import RecipeError, SessionError, WeightsError, foreseen
from fsd.families.captioners import ASK, CAPTIONERS, MATCH, TEACH, WRITE
from fsd.job_orders import CaptionOrder
from fsd.pipeline import caption_photos
from fsd.weights.captioner_folder import find_captioner, need_work
from fsd.weights.checkpoint import newest_checkpoint

BEAMS = {"num_beams": 2, "max_new_tokens": 6}
WORDS = ["a cat", "two people in a red car", "a yellow box", "a dog on the grass", "no"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of each kind, by the name of the full one."""
    root = tmp_path_factory.mktemp("captioners")
    return {
        "blip2": make_blip2(root / "blip2"),
        "blip2-flan-t5": make_blip2_t5(root / "blip2-flan-t5"),
        "blip2-itm": make_blip2_matcher(root / "blip2-itm"),
        "blip": make_blip(root / "blip"),
        "blip-vqa": make_blip(root / "blip-vqa", "BlipForQuestionAnswering"),
        "blip-itm": make_blip(root / "blip-itm", "BlipForImageTextRetrieval"),
    }


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    sizes = [(40 + 8 * number, 50, 3) for number in range(5)]
    return [Image.fromarray(random.integers(0, 255, size, dtype=np.uint8)) for size in sizes]


@pytest.fixture
def session(tmp_path: Path, micro_model: Path) -> Session:
    return make_micro_session(tmp_path, micro_model, {})


def request(folder: Path, **more: Any) -> str:
    return CaptionRequest(str(folder), **{"generation": BEAMS, **more}).to_json()


def captions(session: Session) -> dict[str, str]:
    found = {path.name: caption_file(session, path) for path in photos_of(session.instance_images)}
    return {name: file.read_text(errors="replace").strip() if file else "" for name, file in found.items()}


@pytest.mark.parametrize("name", ["blip2", "blip2-flan-t5", "blip"])
@pytest.mark.parametrize("prompt", ["", "a photo of"])
def test_a_batch_says_what_each_picture_says_alone(
    made: dict[str, Path], pictures: list[Image.Image], name: str, prompt: str
) -> None:
    captioner, how = open_captioner(made[name], WRITE), generation_config(BEAMS)
    together = say(captioner, pictures, prompt, how)
    assert together == [say(captioner, [picture], prompt, how)[0] for picture in pictures]
    assert len(set(together)) > 1
    assert not any(prompt and text.startswith(prompt) for text in together)


@pytest.mark.parametrize("name", ["blip2", "blip2-flan-t5", "blip-vqa"])
def test_the_question_is_no_part_of_the_answer(made: dict[str, Path], pictures: list[Image.Image], name: str) -> None:
    captioner = open_captioner(made[name], ASK)
    answers = answer(captioner, pictures, "is there a dog in the picture?", generation_config({"max_new_tokens": 5}))
    assert len(answers) == len(pictures)
    assert all("Question" not in text and "dog in the" not in text for text in answers)
    assert max(len(captioner.tokenizer(text)["input_ids"]) for text in answers) < 20


def test_generation_settings_are_kept_used_again_and_checked(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    kept = tmp_path / "generation_config.json"
    assert read_generation("", kept) == GENERATION
    given = read_generation(
        "num_beams=3 do_sample=true temperature=0.7 top_p=0.9 min_new_tokens=4 max_new_tokens=9", kept
    )
    config = generation_config(given)
    assert (config.num_beams, config.temperature, config.top_p) == (3, 0.7, 0.9)
    assert (config.min_new_tokens, config.max_new_tokens) == (4, 9)
    config.save_pretrained(tmp_path)  # as transformers writes it, and reads it back
    again = generation_config(read_generation("", kept))
    assert again.to_diff_dict() == config.to_diff_dict()
    assert GenerationConfig.from_pretrained(tmp_path).to_diff_dict() == again.to_diff_dict()
    wrongs = {"num_beam=3": "did you mean num_beams", "num_beams=0": "num_beams", "temperature=-1": "temperature"}
    for wrong, what in wrongs.items():
        with pytest.raises(RecipeError, match=what):
            generation_config(read_generation(wrong, kept))
    with pytest.raises(RecipeError, match="there is no file"):
        read_generation(str(tmp_path / "other.json"), kept)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_it_speaks_from_eight_and_four_bits(made: dict[str, Path], pictures: list[Image.Image], kind: str) -> None:
    import bitsandbytes

    captioner = open_captioner(made["blip2"], WRITE, quantize=kind)
    layer = captioner.model.language_model.model.decoder.layers[0].fc1
    assert isinstance(layer, {"int8": bitsandbytes.nn.Linear8bitLt, "nf4": bitsandbytes.nn.Linear4bit}[kind])
    assert captioner.model.qformer.encoder.layer[0].attention.attention.query.weight.dtype == torch.float32
    how = generation_config(BEAMS)
    said = say(captioner, pictures[:3], "", how)
    assert said == [say(captioner, [picture], "", how)[0] for picture in pictures[:3]]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["none", "nf4"])
def test_every_kind_works_in_half_precision_and_in_fewer_bits(
    made: dict[str, Path], pictures: list[Image.Image], precision: str, kind: str
) -> None:
    for name, folder in made.items():
        [work, *_] = CAPTIONERS[name].works
        captioner = open_captioner(folder, work, precision, kind)
        if work == MATCH:
            plain = score(open_captioner(folder, work), pictures[:2], WORDS[:2])
            found = score(captioner, pictures[:2], WORDS[:2])
            assert [one.matching for one in found] == pytest.approx([one.matching for one in plain], abs=0.1)
        else:
            speak = answer if work == ASK else say
            assert len(speak(captioner, pictures[:2], "a photo", generation_config({"max_new_tokens": 3}))) == 2


@pytest.mark.parametrize("name", ["blip2-itm", "blip-itm"])
def test_scores_and_vectors_are_those_of_the_model_itself(
    made: dict[str, Path], pictures: list[Image.Image], name: str
) -> None:
    captioner = open_captioner(made[name], MATCH)
    found = score(captioner, pictures, WORDS, size=2)
    ids, mask = captioner.tokens(WORDS)
    given = {"pixel_values": captioner.pixels(pictures), "input_ids": ids, "attention_mask": mask}
    switch = "use_image_text_matching_head" if captioner.queries else "use_itm_head"
    with torch.no_grad():
        both, apart = (captioner.model(**given, **{switch: on}) for on in (True, False))
    field = "logits_per_image" if captioner.queries else "itm_score"
    matching, contrast = getattr(both, field).softmax(dim=-1)[:, 1], getattr(apart, field).diagonal()
    assert torch.allclose(torch.tensor([one.matching for one in found]), matching, atol=1e-5)
    assert torch.allclose(torch.tensor([one.contrast for one in found]), contrast, atol=1e-5)
    vectors, texts = embed_pictures(captioner, pictures), embed_texts(captioner, WORDS)
    assert vectors.shape == (5, captioner.queries or 1, 16) and texts.shape == (5, 16)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(vectors.shape[:2]))
    assert torch.allclose(similarity(vectors, texts).diagonal(), contrast, atol=1e-5)
    alike = directions(embed_pictures(captioner, [pictures[0], pictures[0], pictures[1]]))
    assert float(alike[0] @ alike[1]) == pytest.approx(1, abs=1e-5)
    assert float(alike[0] @ alike[2]) < 0.999


def test_memory_that_is_too_small_halves_the_batches_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = []

    def work(batch: list[int]) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("full")
        return [2 * number for number in batch]

    assert list(in_batches(range(20), work)) == [(number, 2 * number) for number in range(20)]
    assert sizes[:4] == [8, 4, 2, 2] and max(sizes[2:]) == 2
    assert "8 pictures at once: 4 from here on" in capsys.readouterr().out
    with pytest.raises(torch.OutOfMemoryError):
        list(in_batches([1], lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("full"))))


def test_ten_thousand_photos_are_streamed() -> None:
    alive, most = 0, 0

    def read(number: int) -> int:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return number

    def work(batch: list[int]) -> list[int]:
        nonlocal alive
        alive -= len(batch)
        return batch

    seen = [item for item, _ in in_batches(ahead(range(10_000), read), work)]
    assert seen == list(range(10_000))
    assert most <= batching.MOST + batching.FIRST + 2


def test_missing_captions_are_written_and_others_stay(made: dict[str, Path], session: Session) -> None:
    first, second, *_ = photos_of(session.instance_images)
    (session.captions / f"{first.stem}.txt").write_bytes("sch\u00f6ne Bl\u00fcte\x07".encode("latin-1"))
    second.write_bytes(second.read_bytes()[:200])  # cut short
    done = write.main([str(session.folder), request(made["blip2"], wording=Wording("photo of {identifier} {class},"))])
    assert list(done["skipped"]) == [second.name] and "damaged or cut short" in done["skipped"][second.name]
    assert first.name not in done["written"]
    assert (session.captions / f"{first.stem}.txt").read_bytes() == "sch\u00f6ne Bl\u00fcte\x07".encode("latin-1")
    written = {name: text for name, text in captions(session).items() if name in done["written"]}
    assert len(written) == 2 and all(text.startswith("photo of {identifier} {class}, ") for text in written.values())
    assert write.main([str(session.folder), request(made["blip2"])])["written"] == []


def test_a_run_that_writes_all_anew_goes_on_where_it_was_stopped(
    made: dict[str, Path], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = photos_of(session.instance_images)
    for path in photos:
        change_caption(session, path, f"by hand {path.stem}", "hand")
    asked = request(made["blip2"], again=True, batch_size=2)
    real, calls = write.say, []

    def stopping(*given: Any) -> list[str]:
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*given)

    monkeypatch.setattr(write, "say", stopping)
    with pytest.raises(KeyboardInterrupt):
        write.main([str(session.folder), asked])
    monkeypatch.setattr(write, "say", real)
    assert sum(text.startswith("by hand") for text in captions(session).values()) == 2
    done = write.main([str(session.folder), asked])
    assert done["written"] == [path.name for path in photos[2:]]
    assert not any(text.startswith("by hand") for text in captions(session).values())
    assert len(write.main([str(session.folder), asked])["written"]) == len(photos)  # a new run of the same
    journal = "".join(path.read_text() for path in session.folder.rglob("*.jsonl"))
    assert all(f"by hand {path.stem}" in journal for path in photos)


def test_words_that_are_drawn_depend_on_seed_and_photo_alone(made: dict[str, Path], session: Session) -> None:
    drawing = read_generation("temperature=2 max_new_tokens=8", session.folder / "none")
    assert drawing == {"num_beams": 1, "max_new_tokens": 8, "do_sample": True, "temperature": 2}

    def drawn(**changes: int) -> dict[str, str]:
        session.save_recipe(session.recipe().changed(**changes))
        write.main([str(session.folder), request(made["blip2"], generation=drawing, again=True, batch_size=2)])
        return captions(session)

    first = drawn(seed=1)
    assert len(set(first.values())) > 1
    changed = drawn(seed=2)
    assert all(first[name] != text for name, text in changed.items())
    photos_of(session.instance_images)[0].unlink()
    assert drawn(seed=1).items() <= first.items()


def test_a_disk_that_fills_keeps_what_is_written_and_the_next_run_goes_on(
    made: dict[str, Path], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = write.change_captions, []

    def filling(*given: Any) -> list[str]:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", "captions")
        return real(*given)

    monkeypatch.setattr(write, "change_captions", filling)
    with pytest.raises(OSError, match="No space left") as full:
        write.main([str(session.folder), request(made["blip2"], batch_size=2)])
    assert "the disk is full" in str(foreseen(full.value))
    assert [bool(text) for text in captions(session).values()] == [True, True, False, False]
    assert len(write.main([str(session.folder), request(made["blip2"])])["written"]) == 2


def test_a_job_asks_for_captions_as_the_verb_does() -> None:
    assert vars(CaptionOrder()).keys() <= inspect.signature(caption_photos).parameters.keys()


def test_words_become_captions() -> None:
    wording = Wording("photo of {identifier} {class}", read_replacements("a man=mafka4 man, arafed=, image of="))
    assert wording.of("arafed image of A Man , standing") == "photo of {identifier} {class}, mafka4 man, standing"
    assert Wording().of(" a  cat ") == "a cat"
    chain = Wording("", read_replacements("cat=dog, dog=cat, black cat=Nox, \\d=x"))
    assert chain.of("a cat, a dog and a Black Cat") == "a dog, a cat and a Nox"
    assert wording.of("a manual") == "photo of {identifier} {class}, a manual"
    assert Wording("x,").of("") == "x"
    taught = "photo of mafka4 man, standing"
    assert Wording("photo of {identifier} {class},").of(taught, "photo of mafka4 man,") == (
        "photo of {identifier} {class}, standing"
    )
    with pytest.raises(RecipeError, match="'puppy', which is no pair"):
        read_replacements("dog=cat, puppy")


def test_questions_scores_search_and_duplicates_over_a_session(made: dict[str, Path], session: Session) -> None:
    photos = photos_of(session.instance_images)
    shutil.copy(photos[0], session.instance_images / f"copy{photos[0].suffix}")
    asked = {"quantize": "none", "batch_size": 0}
    told = ask.main(
        [str(session.folder), json.dumps(asked | {"folder": str(made["blip-vqa"]), "question": "is it red?"})]
    )
    assert list(told["answers"]) == [path.name for path in photos_of(session.instance_images)]
    asked |= {"folder": str(made["blip2-itm"])}
    change_caption(session, photos[0], "a yellow box", "hand")
    scores = match.main([str(session.folder), json.dumps(asked | {"captions": True})])["scores"]
    assert list(scores) == [photos[0].name] and 0 < scores[photos[0].name]["matching"] < 1
    near = match.main([str(session.folder), json.dumps(asked | {"words": "a yellow box"})])["near"]
    assert near[photos[0].name] == pytest.approx(scores[photos[0].name]["contrast"], abs=1e-4)
    alike = match.main([str(session.folder), json.dumps(asked | {"alike": 0.9999})])["alike"]
    assert [pair[:2] for pair in alike] == [[photos[0].name, f"copy{photos[0].suffix}"]]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, micro_model: Path, made: dict[str, Path]) -> tuple[Session, dict]:
    """A session whose captioner learned eight steps, with a checkpoint every fourth, and what it told."""
    session = make_micro_session(tmp_path_factory.mktemp("taught"), micro_model, {})
    for number, path in enumerate(photos_of(session.instance_images)):
        change_caption(session, path, f"a {'yellow box' if number % 2 else 'red car'} of zwx", "hand")
    return session, learn(session, made["blip2"])


def learn(session: Session, folder: Path, fork: bool = False, **changes: Any) -> dict[str, Any]:
    settings = {"captioner.steps": 8, "captioner.learning_rate": 1e-2, "captioner.batch_size": 2, "save.every_steps": 4}
    session.save_recipe(session.recipe().changed(**settings | {"optimizer": "adamw", "save.keep": 9} | changes))
    return teach.main([str(session.folder), json.dumps({"folder": str(folder), "fork": fork})])


@pytest.mark.parametrize("name", ["blip2", "blip2-flan-t5"])
def test_teaching_lowers_the_loss_and_leaves_the_frozen_parts_alone(
    taught: tuple[Session, dict],
    made: dict[str, Path],
    pictures: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    copy = Session(Path(shutil.copytree(taught[0].folder, tmp_path / "copy")))
    shutil.rmtree(copy.checkpoints)
    opened: list[dict[str, Any]] = []

    def opening(*given: Any) -> Any:
        captioner = open_captioner(*given)
        opened.append({"now": dict(captioner.model.named_parameters())})
        opened[-1]["then"] = {key: weight.detach().clone() for key, weight in opened[-1]["now"].items()}
        return captioner

    monkeypatch.setattr(teach, "open_captioner", opening)
    told = learn(copy, made[name])
    assert told["after"] < 0.9 * told["before"]
    now, then = opened[0]["now"], opened[0]["then"]
    changed = {key for key in now if not torch.equal(now[key], then[key])}
    assert {key.partition(".")[0] for key in changed} == {"qformer", "language_projection", "query_tokens"}
    last = newest_checkpoint(copy.checkpoints, "captioner", print)
    assert last and last.step == 8
    how = generation_config(BEAMS)
    for precision, kind in (("fp32", "none"), ("bf16", "none"), ("fp16", "nf4")):
        learned = open_captioner(made[name], WRITE, precision, kind)
        plain = say(learned, pictures, "", how)
        assert take_adapter(learned, last.folder, made[name])
        assert say(learned, pictures, "", how) != plain


def test_only_what_somebody_corrected_is_learned(taught: tuple[Session, dict], tmp_path: Path) -> None:
    copy = Session(Path(shutil.copytree(taught[0].folder, tmp_path / "copy")))
    pairs = captioned(copy)
    assert corrected(copy, pairs) == pairs
    for path, _ in pairs[:3]:
        change_caption(copy, path, "what a model said", "blip2")
    assert [path for path, _ in corrected(copy, captioned(copy))] == [path for path, _ in pairs[3:]]
    change_caption(copy, pairs[0][0], "as it should be", "hand")
    assert next(text for _, text in corrected(copy, captioned(copy))) == "as it should be"


def test_teaching_goes_on_with_the_same_bits(
    taught: tuple[Session, dict], made: dict[str, Path], tmp_path: Path
) -> None:
    session, told = taught
    copy = Session(Path(shutil.copytree(session.folder, tmp_path / session.name)))
    shutil.rmtree(copy.checkpoints / "captioner-000008")
    again = learn(copy, made["blip2"])
    assert (again["from_step"], again["after"]) == (4, told["after"])
    one, other = (load_file(where.checkpoints / "captioner-000008" / ADAPTER) for where in (session, copy))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(RecipeError, match=r"captioner\.learning_rate was 0\.01, is 0\.001") as refused:
        learn(copy, made["blip2"], **{"captioner.learning_rate": 1e-3})
    assert "steps=208 and fork" in str(refused.value)
    with pytest.raises(RecipeError, match="has done all 8 steps already"):
        learn(copy, made["blip2"], fork=True, **{"captioner.learning_rate": 1e-3})
    assert learn(copy, made["blip2"], fork=True, **{"captioner.steps": 9})["from_step"] == 8


def test_a_lora_on_the_language_model_learns_beside(
    taught: tuple[Session, dict], made: dict[str, Path], tmp_path: Path
) -> None:
    copy = Session(Path(shutil.copytree(taught[0].folder, tmp_path / "lora")))
    shutil.rmtree(copy.checkpoints)
    told = learn(copy, made["blip2"], **{"captioner.rank": 2})
    saved = load_file(told["adapter"])
    loras = [name for name in saved if "lora_" in name]
    assert loras and all(name.startswith("language_model.") for name in loras)
    captioner = open_captioner(made["blip2"], WRITE)
    assert take_adapter(captioner, Path(told["adapter"]).parents[1], made["blip2"])
    assert not any(weight.requires_grad for weight in captioner.model.parameters())


def test_the_adapter_has_the_size_that_the_plan_says(taught: tuple[Session, dict]) -> None:
    model = plan.on_meta(tiny_shapes(), torch.float32)
    _, learned = plan.teaching_bytes(model, 0, 2, "cpu")
    weights = load_file(taught[1]["adapter"])
    assert sum(weight.numel() for weight in weights.values()) == learned
    assert sum(weight.nbytes for weight in weights.values()) == 2 * learned


def tiny_shapes() -> dict[str, Any]:
    from tiny_blip import _qformer, _vision, byte_tokenizer

    text = {
        "model_type": "opt", "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "vocab_size": len(byte_tokenizer()),
    }  # fmt: skip
    return {"vision_config": _vision(), "qformer_config": _qformer(), "text_config": text, "num_query_tokens": QUERIES}


def test_the_real_size_is_planned_without_weights() -> None:
    found = plan.main([json.dumps({"captioner": "blip2", "device": "cuda", "rank": 0, "batch_size": 4})])
    weights = {kind: held["weights"] for kind, held in found["caption"].items()}
    assert weights["none"] == pytest.approx(
        7.70e9, rel=0.01
    )  # 3.74 thousand million numbers, the Q-Former's in float32
    assert weights["int8"] == pytest.approx(4.20e9, rel=0.01) and weights["nf4"] == pytest.approx(2.50e9, rel=0.01)
    assert found["adapter_bytes"] == pytest.approx(214e6, rel=0.01)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda folder: without(folder, "preprocessor_config.json"), "has no image processor"),
        (lambda folder: without(folder, "tokenizer.json"), "has no tokenizer"),
        (lambda folder: without(folder, "config.json"), "is no captioner"),
        (lambda folder: without(folder, "model.safetensors"), "holds no weights"),
        (lambda folder: change_config(folder, model_type="llava"), "neither BLIP-2 nor BLIP"),
    ],
)
def test_a_folder_that_is_no_captioner_says_what_is_missing(
    made: dict[str, Path], tmp_path: Path, spoil: Any, what: str
) -> None:
    folder = Path(shutil.copytree(made["blip2"], tmp_path / "copy"))
    with pytest.raises(WeightsError, match=what):
        find_captioner(str(spoil(folder)))


def test_a_captioner_is_asked_only_for_what_it_is_made_for(made: dict[str, Path]) -> None:
    for name, record in CAPTIONERS.items():
        if name in made:
            for work in (WRITE, ASK, MATCH, TEACH):
                if work in record.works:
                    need_work(made[name], work)
                else:
                    with pytest.raises(WeightsError, match=f"not made to {work}"):
                        need_work(made[name], work)
    with pytest.raises(RecipeError, match="did you mean 'blip2'"):
        find_captioner("blip22")


def test_a_session_without_captions_has_nothing_to_teach(made: dict[str, Path], session: Session) -> None:
    with pytest.raises(SessionError, match="has a caption to learn from"):
        learn(session, made["blip2"])


def test_the_verbs_from_end_to_end(fsd: Fsd, made: dict[str, Path], session: Session) -> None:
    root = ("--root", str(session.folder.parents[2]))
    code, out, err = fsd(
        "caption-photos", session.name, *root, "--mode", "blip2", "--captioner", str(made["blip2"]),
        "--prefix", "photo of {identifier} {class},", "--generation", "num_beams=2 max_new_tokens=5",
    )  # fmt: skip
    assert code == 0, err
    assert "4 captions written" in out and "photo of sks cup," in out
    assert json.loads((session.folder / "captioner/generation_config.json").read_text())["num_beams"] == 2
    code, out, err = fsd("teach-captioner", session.name, *root, "--captioner", str(made["blip2"]), "--steps", "2")
    assert code == 0 and "before" in out and "after" in out, err
    code, _, err = fsd("ask-photos", session.name, "what?", *root, "--captioner", str(made["blip2-itm"]))
    assert code == 1 and "not made to answer questions" in err and "Traceback" not in err
