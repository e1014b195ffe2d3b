"""The peers' side of the bench: TransformerLens and PEFT on PyTorch, on the same checkpoints, one measurement a call.

It gets ready, runs once and prints {"ready": true}; every line on stdin has it run once more and print {"seconds": s}; at the end
{"peakBytes": n}. Called by bench/main.ts.
"""
import json
import os
import resource
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch  # noqa: E402

torch.set_num_threads(int(os.environ.get("BENCH_THREADS", "2")))


def load(path, attention="eager"):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation=attention).eval()


def without_gradients(run):
    def wrapped():
        with torch.no_grad():
            return run()

    return wrapped


def bridge(path):
    from transformer_lens.model_bridge import TransformerBridge

    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    # The checkpoints have no tokenizer; TransformerLens insists on one, so it gets the smallest there is.
    words = PreTrainedTokenizerFast(name_or_path=path, tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")), bos_token="b", eos_token="b", pad_token="b")
    return TransformerBridge.boot_transformers(path, hf_model=load(path), tokenizer=words)


def opening(path):
    return lambda: load(path)


def forward_with_cache(path):
    model = bridge(path)
    ids = torch.arange(100, 228).reshape(1, 128)
    return without_gradients(lambda: model.run_with_cache(ids))


def resid_sweep(path):
    from transformer_lens import patching

    model = bridge(path)
    clean = torch.arange(100, 116).reshape(1, 16)
    corrupted = clean.clone()
    corrupted[0, 5] = 4000
    metric = lambda logits: logits[0, -1, 11] - logits[0, -1, 12]  # noqa: E731

    def run():
        _, cache = model.run_with_cache(clean)
        patching.get_act_patch_resid_pre(model, corrupted, cache, metric)

    return without_gradients(run)


def head_sweep(path):
    from transformer_lens import patching

    model = bridge(path)
    clean = torch.arange(100, 116).reshape(1, 16)
    corrupted = clean.clone()
    corrupted[0, 5] = 4000
    metric = lambda logits: logits[0, -1, 11] - logits[0, -1, 12]  # noqa: E731

    def run():
        _, cache = model.run_with_cache(clean)
        patching.get_act_patch_attn_head_out_all_pos(model, corrupted, cache, metric)

    return without_gradients(run)


def lora_step(path, rows=1):
    """One AdamW step of LoRA r = 8, gradients clipped at 1: `rows` x 128 tokens."""
    from peft import LoraConfig, get_peft_model

    # The faster attention, and no dropout: eval mode changes nothing else.
    model = load(path, attention="sdpa")
    targets = ["c_attn"] if model.config.model_type == "gpt2" else ["q_proj", "v_proj"]
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=targets, fan_in_fan_out=model.config.model_type == "gpt2")).eval()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    ids = torch.arange(100, 100 + rows * 128).reshape(rows, 128)

    def run():
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return run


def lora_step_4(path):
    return lora_step(path, rows=4)


def spectra(path):
    """224 sites of a 7B shape at rank 16: QR of both factors, then the SVD of the core, as a careful PyTorch user would."""
    shapes = ([(4096, 4096)] * 4 + [(11008, 4096)] * 2 + [(4096, 11008)]) * 32
    factors = [(torch.randn(o, 16), torch.randn(16, i)) for o, i in shapes]

    def run():
        for b, a in factors:
            rb = torch.linalg.qr(b, mode="r").R
            ra = torch.linalg.qr(a.T, mode="r").R
            torch.linalg.svdvals(rb @ ra.T)

    return run


if __name__ == "__main__":
    name, path = sys.argv[1], sys.argv[2]
    run = globals()[name](path)
    run()
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
    print(json.dumps({"peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), flush=True)
