"""Golden answers of PEFT itself: which modules a config targets, which pattern key wins, and the keys it writes.

Run with peft 0.21.2 and torch 2.15:  python test/formats/golden/make.py
"""
import json
import pathlib
import tempfile

import peft
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

assert peft.__version__ == "0.21.2", peft.__version__
here = pathlib.Path(__file__).parent

PATHS = [
    "transformer.wte", "lm_head", "score", "classifier.dense",
    *[f"transformer.h.{i}.{m}" for i in (0, 1, 2, 10, 11) for m in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "ln_1")],
    *[f"model.layers.{i}.{m}" for i in (0, 1, 21) for m in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj", "block.3.up_proj")],
    "model.layers.1.experts.0.down_proj", "model.layers.1.experts.2.down_proj", "vision.encoder.blocks.1.proj", "q_proj", "my_q_proj", "a.my_q_proj",
]
TARGETS = [
    dict(target_modules=["c_attn"]),
    dict(target_modules=["q_proj", "v_proj"]),
    dict(target_modules=["attn.c_proj"]),
    dict(target_modules=["transformer.h.1.mlp.c_fc"]),
    dict(target_modules=["proj"]),
    dict(target_modules=r".*c_(attn|fc)"),
    dict(target_modules=r"c_attn"),
    dict(target_modules=r".*\.(?P<layer>[01])\.(attn|self_attn)\..*"),
    dict(target_modules=r"(?i).*Q_PROJ"),
    dict(target_modules=r"^transformer\.h\.\d+\.mlp\.c_proj$"),
    dict(target_modules=r".*\.h\.(?:[0-9]|10)\.attn\.c_(?!proj).*"),
    dict(target_modules=r"\A.*self_attn[.][qv]_proj\Z"),
    dict(target_modules=r".*\.\d{,1}\.mlp\.c_fc"),
    dict(target_modules=r".*q_proj|.*v_proj"),
    dict(target_modules=["c_attn"], layers_to_transform=[0, 2]),
    dict(target_modules=["c_attn", "q_proj"], layers_to_transform=1),
    dict(target_modules=["c_attn", "q_proj"], layers_to_transform=[1], layers_pattern="layers"),
    dict(target_modules=["c_attn", "q_proj"], layers_to_transform=[1], layers_pattern=["blocks", "h"]),
    dict(target_modules=["down_proj"], layers_to_transform=[1]),
    dict(target_modules=["down_proj"], layers_to_transform=[0, 2], layers_pattern="experts"),
    dict(target_modules=["up_proj"], layers_to_transform=[0]),
    dict(target_modules=["q_proj"], layers_to_transform=[]),
    dict(target_modules=["transformer.h.1.attn.c_attn"], layers_to_transform=[0]),
    dict(target_modules=["c_attn", "c_proj"], exclude_modules=["mlp.c_proj"]),
    dict(target_modules=["c_attn", "c_proj"], exclude_modules=r".*\.h\.1\..*"),
    dict(target_modules=["wte", "lm_head", "score", "dense"], modules_to_save=["score"]),
    dict(target_modules=["dense", "c_fc"], modules_to_save=["classifier", "h.0"]),
    dict(target_modules=["c_proj"], modules_to_save=["proj"]),
]
PATTERNS = [
    ["c_attn"], ["attn.c_attn", "c_attn"], ["c_attn", "attn.c_attn"], ["^c_attn"], ["^q_proj"], [r"h\.1\.attn\.c_attn"],
    [r".*h\.[01]\.mlp\.c_.*"], ["proj"], ["my_q_proj", "q_proj"], [r"layers\.(1|21)\.self_attn\.q_proj"], ["^transformer.h.1.attn.c_attn"],
    ["layers.1.mlp.down_proj|c_fc"],
]


def targets():
    rows = []
    for fields in TARGETS:
        config = LoraConfig(**fields)
        rows.append({"config": fields, "matched": [p for p in PATHS if bool(check_target_module_exists(config, p))]})
    return rows


def patterns():
    return [
        {"keys": keys, "winners": {p: get_pattern_key(keys, p) for p in PATHS if get_pattern_key(keys, p) in keys}}
        for keys in PATTERNS
    ]


def keys():
    """Names and shapes of the tensors, and the config, that save_pretrained writes."""
    rows = []
    small = GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=11, n_positions=8, n_inner=16, pad_token_id=0)
    cases = {
        "plain": dict(target_modules=["c_attn"]),
        "dora": dict(target_modules=["c_attn"], use_dora=True),
        "rslora patterns": dict(target_modules=["c_attn", "c_fc"], use_rslora=True, rank_pattern={"c_fc": 3}, alpha_pattern={"c_fc": 5}),
        "bias all": dict(target_modules=["c_attn"], bias="all"),
        "bias lora_only": dict(target_modules=["c_attn"], bias="lora_only"),
        "lora bias": dict(target_modules=["c_attn"], lora_bias=True),
        "embedding": dict(target_modules=["wte", "c_attn"]),
        "modules to save": dict(target_modules=["c_attn"], modules_to_save=["ln_f", "wpe"]),
        "all-linear": dict(target_modules="all-linear", task_type="CAUSAL_LM"),
        "pissa": dict(target_modules=["c_attn"], init_lora_weights="pissa"),
        "classifier": dict(target_modules=["c_attn"], task_type="SEQ_CLS"),
    }
    for title, fields in cases.items():
        torch.manual_seed(0)
        base = (GPT2ForSequenceClassification if title == "classifier" else GPT2LMHeadModel)(small)
        modules = [n for n, m in base.named_modules() if type(m).__name__ in ("Conv1D", "Linear")]
        model = get_peft_model(base, LoraConfig(r=2, lora_alpha=4, **fields))
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            with safe_open(f"{folder}/adapter_model.safetensors", "pt") as f:
                tensors = {k: list(f.get_slice(k).get_shape()) for k in sorted(f.keys())}
            config = json.loads(pathlib.Path(folder, "adapter_config.json").read_text())
        named = {n for n, m in model.base_model.model.named_modules() if hasattr(m, "lora_A")}
        rows.append({"title": title, "config": config, "tensors": tensors, "linear": modules, "adapted": sorted(named)})
    return rows


def write(name, rows):
    (here / name).write_text(json.dumps(rows, indent=1) + "\n")


write("targets.json", {"paths": PATHS, "targets": targets(), "patterns": patterns()})
write("peftKeys.json", keys())
