#!/usr/bin/env python3
"""Generation on the CPU beside llama.cpp: the same shapes, bf16, random weights, in turn.

Each round measures every point with llama.cpp and then with `r1_bench_generate`; the best round of
each counts, of llama.cpp with weights mapped or read. A point is one prompt of 64 tokens continued
by 1, 16 or 64 samples of 32 tokens, of which the steps behind the prompt count, or a prompt of 256
tokens alone. llama.cpp gets random tokens and draws none, which favours it; r1 samples and returns
logprobs. A share is the bytes that r1's steps had to read over their time, of what as many threads
read between the same rounds.

  tests/peer/setup.sh llama_cpp
  .deps/llama_cpp/bin/python tests/peer/llama_cpp_bench.py --bench build/release/bin/r1_bench_generate
"""

import argparse
import ctypes
import datetime
import json
import pathlib
import subprocess
import tempfile
import time

import gguf
import llama_cpp
import numpy

SHAPES = pathlib.Path(__file__).resolve().parents[2] / "kernels/bench/shapes"
PROMPT, RESPONSE, LONG_PROMPT = 64, 32, 256
BATCHES = (1, 16, 64)
PREFILL = "prompt"


class RandomTensors:
    """Tensors are runs of one pool of normal numbers of deviation 0.02."""

    def __init__(self):
        numbers = numpy.random.default_rng(1).normal(0, 0.02, 1 << 22).astype(numpy.float32)
        self.fp32 = numbers
        self.bf16 = (numbers.view(numpy.uint32) >> 16).astype(numpy.uint16)
        self.seen = 0

    def run(self, pool, *shape):
        self.seen += 1
        size = int(numpy.prod(shape))
        return numpy.resize(numpy.roll(pool, 7919 * self.seen), size).reshape(shape)


def write_gguf(path, shape):
    """`shape` is a config.json of Qwen3-MoE or DeepSeek-V3."""
    is_latent = "kv_lora_rank" in shape
    hidden, heads = shape["hidden_size"], shape["num_attention_heads"]
    width, layers, vocab = (shape["moe_intermediate_size"], shape["num_hidden_layers"],
                            shape["vocab_size"])
    experts = shape["n_routed_experts" if is_latent else "num_experts"]
    random = RandomTensors()
    writer = gguf.GGUFWriter(path, "deepseek2" if is_latent else "qwen3moe")
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(vocab)
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_rope_freq_base(shape["rope_theta"])
    writer.add_layer_norm_rms_eps(shape["rms_norm_eps"])
    writer.add_expert_count(experts)
    writer.add_expert_used_count(shape["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(width)

    def matrix(name, *size):
        writer.add_tensor(name, random.run(random.bf16, *size),
                          raw_dtype=gguf.GGMLQuantizationType.BF16)

    def norm(name, size):
        writer.add_tensor(name, numpy.ones(size, numpy.float32))

    matrix("token_embd.weight", vocab, hidden)
    norm("output_norm.weight", hidden)
    matrix("output.weight", vocab, hidden)
    if is_latent:
        latent, rotary = shape["kv_lora_rank"], shape["qk_rope_head_dim"]
        plain, value, query = (shape["qk_nope_head_dim"], shape["v_head_dim"],
                               shape["q_lora_rank"])
        writer.add_head_count_kv(1)
        writer.add_key_length(latent + rotary)
        writer.add_value_length(latent)
        writer.add_key_length_mla(plain + rotary)
        writer.add_value_length_mla(value)
        writer.add_rope_dimension_count(rotary)
        writer.add_q_lora_rank(query)
        writer.add_kv_lora_rank(latent)
        writer.add_leading_dense_block_count(0)
        writer.add_expert_shared_count(shape["n_shared_experts"])
        writer.add_expert_weights_scale(shape["routed_scaling_factor"])
        writer.add_expert_weights_norm(True)
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    else:
        kv_heads, channels = shape["num_key_value_heads"], shape["head_dim"]
        writer.add_head_count_kv(kv_heads)
        writer.add_key_length(channels)
        writer.add_value_length(channels)
    for layer in range(layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm.weight", hidden)
        if is_latent:
            matrix(block + "attn_q_a.weight", query, hidden)
            norm(block + "attn_q_a_norm.weight", query)
            matrix(block + "attn_q_b.weight", heads * (plain + rotary), query)
            matrix(block + "attn_kv_a_mqa.weight", latent + rotary, hidden)
            norm(block + "attn_kv_a_norm.weight", latent)
            matrix(block + "attn_k_b.weight", heads, latent, plain)
            matrix(block + "attn_v_b.weight", heads, value, latent)
            matrix(block + "attn_output.weight", hidden, heads * value)
            writer.add_tensor(block + "exp_probs_b.bias", numpy.zeros(experts, numpy.float32))
            shared = shape["n_shared_experts"] * width
            matrix(block + "ffn_gate_shexp.weight", shared, hidden)
            matrix(block + "ffn_up_shexp.weight", shared, hidden)
            matrix(block + "ffn_down_shexp.weight", hidden, shared)
        else:
            matrix(block + "attn_q.weight", heads * channels, hidden)
            matrix(block + "attn_k.weight", kv_heads * channels, hidden)
            matrix(block + "attn_v.weight", kv_heads * channels, hidden)
            norm(block + "attn_q_norm.weight", channels)
            norm(block + "attn_k_norm.weight", channels)
            matrix(block + "attn_output.weight", hidden, heads * channels)
        norm(block + "ffn_norm.weight", hidden)
        writer.add_tensor(block + "ffn_gate_inp.weight",
                          random.run(random.fp32, experts, hidden))
        matrix(block + "ffn_gate_exps.weight", experts, width, hidden)
        matrix(block + "ffn_up_exps.weight", experts, width, hidden)
        matrix(block + "ffn_down_exps.weight", experts, hidden, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """A model of llama.cpp and its context, through the C interface."""

    def __init__(self, path, vocab, threads, mapped):
        parameters = llama_cpp.llama_model_default_params()
        parameters.use_mmap = mapped
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        assert self.model, f"llama.cpp cannot load {path}"
        settings = llama_cpp.llama_context_default_params()
        settings.n_seq_max = max(BATCHES)
        settings.kv_unified = False  # with one cache for all, many samples are slower
        settings.n_ctx = max(LONG_PROMPT, PROMPT + RESPONSE) * settings.n_seq_max
        settings.n_batch = settings.n_ubatch = 512
        settings.n_threads = settings.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        assert self.context, "llama.cpp cannot make a context"
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)
        self.vocab = vocab
        self.random = numpy.random.default_rng(2)

    def decode(self, positions, sequences, wanted):
        """Random tokens there; finite logits for the last `wanted`."""
        count = self.batch.n_tokens = len(positions)
        tokens = self.random.integers(0, self.vocab, count)
        for i in range(count):
            self.batch.token[i] = int(tokens[i])
            self.batch.pos[i] = positions[i]
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = sequences[i]
            self.batch.logits[i] = i >= count - wanted
        assert llama_cpp.llama_decode(self.context, self.batch) == 0
        last = llama_cpp.llama_get_logits_ith(self.context, count - 1)
        assert numpy.isfinite(last[0])

    def prompt(self, tokens):
        """Seconds of a prompt in sequence 0, alone."""
        llama_cpp.llama_memory_clear(self.memory, True)
        begin = time.monotonic()
        self.decode(range(tokens), [0] * tokens, 1)
        return time.monotonic() - begin

    def steps(self, samples):
        """Seconds of a step of so many samples behind one prompt, the mean of all."""
        self.prompt(PROMPT)
        for sequence in range(1, samples):
            llama_cpp.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)
        begin = time.monotonic()
        for position in range(PROMPT, PROMPT + RESPONSE - 1):
            self.decode([position] * samples, range(samples), samples)
        return (time.monotonic() - begin) / (RESPONSE - 1)

    def close(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)


def run_bench(options, config, points, prompt, response):
    """Rows of r1_bench_generate."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as rows:
        subprocess.run(
            [options.bench, "--device", "cpu", "--weights", "bf16", "--config", config,
             "--threads", str(options.threads), "--points", points, "--rounds", "4",
             "--prompt-tokens", str(prompt), "--response-tokens", str(response),
             "--kv-cache-mib", "1024", "--json", rows.name],
            check=True, stdout=subprocess.DEVNULL)
        return [json.loads(line) for line in pathlib.Path(rows.name).read_text().splitlines()]


def measure(name, options, scratch):
    """Rows of a shape, one a point."""
    config = SHAPES / f"{name}.json"
    shape = json.loads(config.read_text())
    path = scratch / f"{name}.gguf"
    write_gguf(path, shape)
    llamas = [LlamaCpp(path, shape["vocab_size"], options.threads, mapped)
              for mapped in (True, False)]
    theirs, ours = [], []  # a round: {point: seconds}, {point: row}
    for number in range(options.rounds):
        llama = llamas[number % 2]
        theirs.append({batch: llama.steps(batch) for batch in BATCHES})
        theirs[-1][PREFILL] = min(llama.prompt(LONG_PROMPT) for _ in range(4))
        points = ",".join(f"1x{batch}" for batch in BATCHES)
        ours.append(dict(zip(BATCHES, run_bench(options, config, points, PROMPT, RESPONSE))))
        ours[-1][PREFILL] = run_bench(options, config, "1x1", LONG_PROMPT, 1)[0]
    for llama in llamas:
        llama.close()
    path.unlink()
    return [table_row(name, point, [row[point] for row in ours], [row[point] for row in theirs])
            for point in (*BATCHES, PREFILL)]


def table_row(name, point, ours, theirs):
    """The best of each; the share is that of our best round, by what was read in it."""
    tokens = LONG_PROMPT if point == PREFILL else point
    time_key = "prefill_ms" if point == PREFILL else "step_ms"
    best = min(ours, key=lambda row: row[time_key])
    seconds = best[time_key] / 1e3
    row = {"model": name, "point": point, "isa": best["isa"],
           "r1_tokens_per_second": round(tokens / seconds, 1),
           "llama_cpp_tokens_per_second": round(tokens / min(theirs), 1),
           "ratio": round(min(theirs) / seconds, 2),
           "r1_rounds": [round(1e3 * tokens / each[time_key], 1) for each in ours],
           "llama_cpp_rounds": [round(tokens / each, 1) for each in theirs]}
    if point != PREFILL:
        row["step_bytes"] = best["step_bytes"]
        row["read_gb_per_second"] = best["floor_gb_per_second"]
        row["r1_share"] = round(best["floor_ms"] / best["step_ms"], 3)
        row["r1_shares"] = [round(each["floor_ms"] / each["step_ms"], 3) for each in ours]
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", required=True, help="r1_bench_generate")
    parser.add_argument("--shapes", default="c1,c2,c1_mla,c2_mla")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", help="file to write")
    options = parser.parse_args()
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    result = []
    print(f"{'model':8} {'point':>7} {'r1 tok/s':>10} {'llama.cpp':>10} {'ratio':>6} "
          f"{'GB/s':>6} {'share':>6}")
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.shapes.split(","):
            for row in measure(name, options, pathlib.Path(scratch)):
                share = f"{row['read_gb_per_second']:6.1f} {row['r1_share']:6.0%}" \
                    if "r1_share" in row else ""
                print(f"{row['model']:8} {row['point']:>7} {row['r1_tokens_per_second']:10.0f} "
                      f"{row['llama_cpp_tokens_per_second']:10.0f} {row['ratio']:6.2f} {share}",
                      flush=True)
                result.append(row)
    if options.json:
        settings = {"date": datetime.date.today().isoformat(), "threads": options.threads,
                    "prompt_tokens": PROMPT, "response_tokens": RESPONSE,
                    "llama_cpp_python": llama_cpp.__version__, "rounds": options.rounds}
        lines = ",\n".join("  " + json.dumps(row) for row in result)
        pathlib.Path(options.json).write_text(
            f'{{"settings": {json.dumps(settings)},\n "rows": [\n{lines}]}}\n')


if __name__ == "__main__":
    main()
