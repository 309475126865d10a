"""Writes tests/golden/models/: tiny random checkpoints of every family, with what transformers says.

Each case is a Hugging Face folder (config.json in one of the two dialects, weights in one of the
stored types, one file or shards) and expected.safetensors:
  ids [T], logits [T, V], logprobs [T - 1] of the next ids,
  greedy [32], the greedy continuation of the first 8 ids,
  grad_norm.<parameter> [1], of the mean cross-entropy over ids.
The expectation is transformers' fp32 computation with eager attention, of the values as they are
stored. Block-scaled FP8 weights are dequantised here, since transformers needs a GPU for them.

Run with torch==2.11.0 transformers==5.23.0 safetensors==0.8.0:
  python tests/golden/make_model_cases.py tests/golden/models
"""

import json
import pathlib
import shutil
import sys

import safetensors.torch
import torch
import transformers

EXPECTED_VERSIONS = {"torch": "2.11.0", "transformers": "5.23.0"}
TOKENS = 40
PROMPT = 8
NEW_TOKENS = 32

MLA = dict(vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=16,
           num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, kv_lora_rank=12,
           qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=10, n_routed_experts=8,
           num_experts_per_tok=2, first_k_dense_replace=1, max_position_embeddings=128)
V3 = dict(MLA, n_shared_experts=1, n_group=1, topk_group=1)
V2 = dict(MLA, n_shared_experts=2)
GQA = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
           num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)
QWEN3_MOE = dict(GQA, head_dim=12, moe_intermediate_size=16, num_experts=8, num_experts_per_tok=3)


def yarn(**more):
    return dict(rope_type="yarn", rope_theta=1000.0, factor=8.0,
                original_max_position_embeddings=16, **more)


def plain(theta=1000.0):
    return dict(rope_type="default", rope_theta=theta)


CASES = {
    # DeepSeek-V3 as it is published: YaRN with mscale, groups, biases, shards, an MTP layer.
    "v3_published": dict(
        family="DeepseekV3",
        config=dict(V3, q_lora_rank=20, n_group=4, topk_group=2, routed_scaling_factor=2.5,
                    attention_bias=True,
                    rope_parameters=yarn(mscale=1.0, mscale_all_dim=1.0, beta_fast=32,
                                         beta_slow=1)),
        published=True, shards=4, mtp=True),
    "v3_bf16": dict(
        family="DeepseekV3",
        config=dict(V3, q_lora_rank=None, rope_interleave=False, norm_topk_prob=False,
                    tie_word_embeddings=True, rope_parameters=plain()),
        dtype="bfloat16"),
    # Blocks that do not divide hidden_size.
    "v3_fp8": dict(
        family="DeepseekV3",
        config=dict(V3, q_lora_rank=24, hidden_size=136, n_routed_experts=4,
                    rope_parameters=yarn(mscale=0.707, mscale_all_dim=1.0)),
        published=True, dtype="float8", shards=2),
    "v3_yarn_magnitude": dict(
        family="DeepseekV3",
        config=dict(V3, q_lora_rank=None, first_k_dense_replace=0, n_group=2, topk_group=1,
                    rope_parameters=yarn(beta_fast=4, beta_slow=0.25))),
    "v2_greedy": dict(
        family="DeepseekV2",
        config=dict(V2, q_lora_rank=None, topk_method="greedy", num_experts_per_tok=3,
                    rope_parameters=yarn(mscale=0.707, mscale_all_dim=0.707)),
        published=True),
    "v2_groups": dict(
        family="DeepseekV2",
        config=dict(V2, q_lora_rank=20, topk_method="group_limited_greedy", n_group=4, topk_group=2,
                    routed_scaling_factor=4.0, norm_topk_prob=True, attention_bias=True,
                    rope_parameters=plain()),
        dtype="float16"),
    # A window shorter than the sequence that is not in use.
    "qwen2_tied": dict(
        family="Qwen2",
        config=dict(GQA, tie_word_embeddings=True, sliding_window=8, use_sliding_window=False,
                    max_window_layers=1, rope_parameters=plain(1e6)),
        published=True, dtype="bfloat16"),
    "qwen2_yarn": dict(
        family="Qwen2", config=dict(GQA, num_key_value_heads=1, rope_parameters=yarn()),
        published=True),
    "llama_3": dict(
        family="Llama",
        config=dict(GQA, rope_parameters=dict(
            rope_type="llama3", rope_theta=1000.0, factor=8.0, low_freq_factor=1.0,
            high_freq_factor=4.0, original_max_position_embeddings=32)),
        published=True, shards=3, eos=[2, 5, 7]),
    "llama_biases": dict(
        family="Llama",
        config=dict(GQA, num_key_value_heads=4, head_dim=10, attention_bias=True, mlp_bias=True,
                    rope_parameters=dict(rope_type="linear", rope_theta=1000.0, factor=4.0))),
    "qwen3_heads": dict(
        family="Qwen3",
        config=dict(GQA, head_dim=20, tie_word_embeddings=True, rms_norm_eps=1e-5,
                    rope_parameters=plain(1e6)),
        dtype="bfloat16"),
    "qwen3_biases": dict(
        family="Qwen3",
        config=dict(GQA, head_dim=12, attention_bias=True,
                    rope_parameters=yarn(attention_factor=1.25, truncate=False))),
    "qwen3_moe_normed": dict(
        family="Qwen3Moe",
        config=dict(QWEN3_MOE, norm_topk_prob=True, mlp_only_layers=[0], rope_parameters=plain())),
    "qwen3_moe_sparse_step": dict(
        family="Qwen3Moe",
        config=dict(QWEN3_MOE, norm_topk_prob=False, decoder_sparse_step=2, attention_bias=True,
                    num_hidden_layers=3, rope_parameters=yarn()),
        published=True, shards=2),
}

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def make_model(case, seed):
    """A model whose parameters are all far from their initial values."""
    config_class = getattr(transformers, case["family"] + "Config")
    eos = case.get("eos", 1)
    config = config_class(**case["config"], bos_token_id=0, eos_token_id=eos)
    config._experts_implementation = "eager"
    torch.manual_seed(seed)
    model_class = getattr(transformers, case["family"] + "ForCausalLM")
    model = model_class._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.copy_(0.3 * torch.randn_like(parameter))
            else:
                embedding = "embed_tokens" in name and not config.tie_word_embeddings
                fan_in = 1 if embedding else parameter.shape[-1]
                parameter.copy_(torch.randn_like(parameter) * 1.2 / fan_in**0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                # Wide, so that some of the choices that are kept are negative.
                buffer.copy_(0.5 * torch.randn_like(buffer) - 0.5)
    return model.eval()


def publish(config):
    """A config of transformers 5 as transformers 4 wrote it."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else dict(rope, type=kind)
    config["torch_dtype"] = config.pop("dtype")
    if "num_local_experts" in config:
        config["num_experts"] = config.pop("num_local_experts")
    return config


def quantize(weight, block=128):
    """Block-scaled e4m3 values, their scales, and the weight that the two stand for."""
    rows, columns = weight.shape
    scales = torch.empty((rows + block - 1) // block, (columns + block - 1) // block)
    values = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    dequantized = torch.empty_like(weight)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            part = (slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block))
            scales[i, j] = weight[part].abs().max() / 448
            values[part] = (weight[part] / scales[i, j]).to(torch.float8_e4m3fn)
            dequantized[part] = values[part].float() * scales[i, j]
    return values, scales, dequantized


def is_quantized(name):
    return name.endswith("_proj.weight") or name.endswith("kv_a_proj_with_mqa.weight")


def stored_tensors(tensors, dtype):
    """name -> tensor as stored, and name -> the fp32 value of it."""
    stored, values = {}, {}
    for name, tensor in tensors.items():
        tensor = tensor.float()
        if dtype == "float8" and is_quantized(name):
            stored[name], scales, values[name] = quantize(tensor)
            stored[name + "_scale_inv"] = scales
            continue
        kept = name.endswith("e_score_correction_bias")
        kind = torch.bfloat16 if dtype == "float8" else DTYPES[dtype]
        stored[name] = tensor if kept else tensor.to(kind)
        values[name] = stored[name].float()
    return stored, values


def add_mtp_layer(stored, layer):
    """What a multi-token-prediction module looks like; the main model must skip it."""
    prefix = f"model.layers.{layer}."
    for name in ("enorm.weight", "hnorm.weight", "shared_head.norm.weight"):
        stored[prefix + name] = torch.ones(32)
    stored[prefix + "eh_proj.weight"] = torch.full((32, 64), float("nan"))
    stored[prefix + "embed_tokens.weight"] = torch.zeros(64, 32)


def write_weights(folder, stored, shards):
    if shards == 1:
        safetensors.torch.save_file(stored, folder / "model.safetensors", {"format": "pt"})
        return
    names = sorted(stored)  # round robin: a weight and its scales come into different shards
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in stored.values())},
             "weight_map": {}}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: stored[name] for name in names[shard::shards]}
        safetensors.torch.save_file(part, folder / file, {"format": "pt"})
        index["weight_map"].update({name: file for name in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def split_experts(name, gradient):
    """Gradients under the names of the checkpoint, where every expert has its own."""
    if ".experts." not in name or gradient.dim() != 3:
        return {name: gradient}
    prefix = name[: name.index(".experts.") + len(".experts.")]
    parts = {}
    for expert, one in enumerate(gradient):
        if name.endswith("down_proj"):
            parts[f"{prefix}{expert}.down_proj.weight"] = one
        else:
            gate, up = one.chunk(2, dim=0)
            parts[f"{prefix}{expert}.gate_proj.weight"] = gate
            parts[f"{prefix}{expert}.up_proj.weight"] = up
    return parts


def expectation(model, seed):
    torch.manual_seed(seed)
    ids = torch.randint(0, model.config.vocab_size, (1, TOKENS))
    logits = model(ids, use_cache=False).logits[0]
    logprobs = logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    model.zero_grad()
    (-logprobs.mean()).backward()
    expected = {"ids": ids[0].to(torch.int32), "logits": logits.detach(),
                "logprobs": logprobs.detach()}
    for name, parameter in model.named_parameters():
        for part, gradient in split_experts(name, parameter.grad).items():
            expected["grad_norm." + part] = gradient.norm()[None]
    text, margin = ids[:, :PROMPT], float("inf")
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            best = model(text, use_cache=False).logits[0, -1].topk(2)
            margin = min(margin, float(best.values[0] - best.values[1]))
            text = torch.cat([text, best.indices[:1, None]], dim=1)
    expected["greedy"] = text[0, PROMPT:].to(torch.int32)
    return expected, margin


def write_case(folder, case, seed):
    """Returns whether the greedy choices are clear."""
    model = make_model(case, seed)
    model.save_pretrained(folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stored, values = stored_tensors(tensors, case.get("dtype", "float32"))

    config = json.loads((folder / "config.json").read_text())
    if case.get("published"):
        config = publish(config)
    if case.get("mtp"):
        config["num_nextn_predict_layers"] = 1
        add_mtp_layer(stored, config["num_hidden_layers"])
    # What transformers itself makes of the folder, with plain fp32 weights in it.
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    write_weights(folder, values, 1)
    read = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                       experts_implementation="eager").eval()
    (folder / "model.safetensors").unlink()
    expected, margin = expectation(read, seed)

    if case.get("dtype") == "float8":
        config["quantization_config"] = {"activation_scheme": "dynamic", "fmt": "e4m3",
                                         "quant_method": "fp8", "weight_block_size": [128, 128]}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    write_weights(folder, stored, case.get("shards", 1))
    safetensors.torch.save_file(expected, folder / "expected.safetensors",
                                {"torch": torch.__version__.split("+")[0],
                                 "transformers": transformers.__version__})
    scale = float(expected["logits"].abs().max())
    print(f"{folder.name:24} seed {seed}, |logits| <= {scale:6.2f}, greedy margin {margin:.4f}")
    return margin > 5e-4 * scale


def main():
    found = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    if found != EXPECTED_VERSIONS:
        raise SystemExit(f"expected {EXPECTED_VERSIONS}, found {found}")
    torch.set_num_threads(1)
    root = pathlib.Path(sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)
    for number, (name, case) in enumerate(CASES.items()):
        folder = root / name
        # Until no greedy choice is too close to call.
        for seed in range(100 + number, 1100, 100):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if write_case(folder, case, seed):
                break


if __name__ == "__main__":
    main()
