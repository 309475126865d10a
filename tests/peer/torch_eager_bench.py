#!/usr/bin/env python3
"""Generation of the default run's model at batch 256 beside PyTorch's eager operators, in turn.

The peer is transformers' DeepSeek-V3 of moe_mini's sizes in fp32: a prompt of 10 tokens in one
forward pass, then a pass a token over its cache of keys and values, softmax, a draw and its
logprob; the best of its ways to compute experts. r1 is `r1_bench_generate` with the same sizes and
as many samples and threads. The best round of each counts, by the clock.

  .deps/peer/bin/python tests/peer/torch_eager_bench.py --bench build/release/bin/r1_bench_generate
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import torch
import transformers

GROUPS, SAMPLES, PROMPT, RESPONSE, VOCAB = 32, 8, 10, 35, 32


def moe_mini(experts):
    """common/models/presets.cc, random weights."""
    config = transformers.DeepseekV3Config(
        vocab_size=VOCAB, hidden_size=96, num_hidden_layers=3, first_k_dense_replace=1,
        intermediate_size=192, num_attention_heads=4, num_key_value_heads=4, q_lora_rank=None,
        kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=32,
        n_routed_experts=8, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=48,
        n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.0,
        max_position_embeddings=4096, tie_word_embeddings=False)
    config.architectures = ["DeepseekV3ForCausalLM"]
    config._experts_implementation = experts
    torch.manual_seed(1)
    return transformers.DeepseekV3ForCausalLM(config).eval()


@torch.inference_mode()
def torch_tokens_per_second(model):
    ids = torch.randint(VOCAB, (GROUPS * SAMPLES, PROMPT))
    cache = transformers.DynamicCache()
    begin = time.monotonic()
    for _ in range(RESPONSE):
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True,
                       logits_to_keep=1).logits[:, -1]
        logprobs = torch.log_softmax(logits, -1)
        ids = torch.multinomial(logprobs.exp(), 1)
        logprobs.gather(1, ids)
    return GROUPS * SAMPLES * RESPONSE / (time.monotonic() - begin)


def r1_tokens_per_second(model, options):
    with tempfile.TemporaryDirectory() as folder:
        config, row = pathlib.Path(folder, "config.json"), pathlib.Path(folder, "row.json")
        model.config.to_json_file(config)
        subprocess.run(
            [options.bench, "--device", "cpu", "--weights", "fp32", "--config", config, "--threads",
             str(options.threads), "--points", f"{GROUPS}x{SAMPLES}", "--prompt-tokens",
             str(PROMPT), "--response-tokens", str(RESPONSE), "--kv-cache-mib", "256", "--rounds",
             "10", "--json", row],
            check=True, stdout=subprocess.DEVNULL)
        return json.loads(row.read_text())["tokens_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", required=True, help="r1_bench_generate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = {experts: moe_mini(experts) for experts in ("eager", "batched_mm", "grouped_mm")}
    theirs, ours = {}, 0
    for _ in range(options.rounds):
        for experts, model in models.items():
            theirs[experts] = max(torch_tokens_per_second(model), theirs.get(experts, 0))
        ours = max(r1_tokens_per_second(models["eager"], options), ours)
    for experts, rate in theirs.items():
        print(f"PyTorch, {experts:10} {rate:9.0f} tokens/s, r1 {ours:9.0f}: {ours / rate:.1f} times")


if __name__ == "__main__":
    main()
