"""Tiny BLIP-2 and BLIP checkpoints of true architecture, tokenizers included, made from configuration without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

PX, QUERIES = 32, 4
TEXT = [
    "a photo of a cat", "a dog on the grass", "a yellow box with a picture of a mountain", "two people in a red car",
    "Question: what is in the picture? Answer: a green robot with one eye", "a black and white print of a house", "yes", "no",
] * 4  # fmt: skip


def byte_tokenizer(template: str = "</s> $A") -> Any:
    """As OPT's: byte-level pieces, `</s>` first of every text, `<image>` for BLIP-2's vectors. template: T5's is "$A </s>"."""
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "<pad>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(TEXT, trainer)
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("</s>", 2)])
    found = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="</s>", eos_token="</s>", pad_token="<pad>")
    found.add_tokens(["<image>"], special_tokens=True)
    return found


def bert_tokenizer() -> Any:
    """As BERT's, which BLIP and the Q-Former read with: `[CLS]`, words, `[SEP]`."""
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]"]
    made.train_from_iterator(TEXT, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[DEC]",
    )


def _save(folder: Path, model: Any, tokenizer: Any) -> Path:
    from transformers import BlipImageProcessorPil

    for _, weight in sorted(_still(model)):  # what starts as zero would hide what it does
        torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": PX, "width": PX}).save_pretrained(folder)
    return folder


def _still(model: Any) -> Iterator[tuple[str, Any]]:
    return (
        (name, weight) for name, weight in model.named_parameters() if weight.ndim > 1 and float(weight.std()) < 1e-3
    )


def _vision(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": PX,
        "patch_size": 8, "initializer_range": 0.2, **more,
    }  # fmt: skip


def _qformer(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "encoder_hidden_size": 32, "initializer_range": 0.2, **more,
    }  # fmt: skip


def make_blip2(folder: Path, seed: int = 0) -> Path:
    """A BLIP-2 with an OPT of two layers, as Salesforce/blip2-opt-2.7b is built; a line's end ends what it says."""
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    text = {
        "model_type": "opt", "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 128, "init_std": 0.2,
        "bos_token_id": 2, "eos_token_id": tokenizer.convert_tokens_to_ids("\u010a"), "pad_token_id": 1,
    }  # fmt: skip
    return _blip2(folder, tokenizer, text)


def make_blip2_t5(folder: Path, seed: int = 0) -> Path:
    """A BLIP-2 with a T5 of two layers, as Salesforce/blip2-flan-t5-xl is built."""
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer("$A </s>")
    text = {
        "model_type": "t5", "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2,
        "vocab_size": len(tokenizer), "decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip
    return _blip2(folder, tokenizer, text)


def _blip2(folder: Path, tokenizer: Any, text: dict[str, Any]) -> Path:
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    config = Blip2Config(
        vision_config=_vision(), qformer_config=_qformer(), text_config=text, num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return _save(folder, Blip2ForConditionalGeneration(config), tokenizer)


def make_blip2_matcher(folder: Path, seed: int = 0) -> Path:
    """A BLIP-2 for matching, as Salesforce/blip2-itm-vit-g is built."""
    from transformers import Blip2Config, Blip2ForImageTextRetrieval

    torch.manual_seed(seed)
    tokenizer = bert_tokenizer()
    qformer = _qformer(vocab_size=len(tokenizer), use_qformer_text_input=True, max_position_embeddings=64)
    config = Blip2Config(
        vision_config=_vision(), qformer_config=qformer, num_query_tokens=QUERIES, image_text_hidden_size=16
    )
    return _save(folder, Blip2ForImageTextRetrieval(config), tokenizer)


def make_blip(folder: Path, kind: str = "BlipForConditionalGeneration", seed: int = 0) -> Path:
    """A BLIP: for captions, for questions (BlipForQuestionAnswering) or for matching (BlipForImageTextRetrieval)."""
    import transformers

    torch.manual_seed(seed)
    tokenizer = bert_tokenizer()
    text = {
        "hidden_size": 32, "encoder_hidden_size": 32, "intermediate_size": 64, "projection_dim": 16,
        "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 64,
        "bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3, "initializer_range": 0.2,
    }  # fmt: skip
    config = transformers.BlipConfig(vision_config=_vision(), text_config=text, image_text_hidden_size=16)
    return _save(folder, getattr(transformers, kind)(config), tokenizer)


def without(folder: Path, *names: str) -> Path:
    """The folder, which has lost these files."""
    for name in names:
        (folder / name).unlink()
    return folder


def change_config(folder: Path, **values: Any) -> Path:
    """The folder, whose config.json says something else."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder
