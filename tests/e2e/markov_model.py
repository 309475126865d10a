"""A model folder whose answers are known: a Qwen2-shaped model without attention or MLP, which
makes the next token depend on the last one alone. Behind "<think>" and a line break it closes its
thinking and answers \\boxed{3}, \\boxed{4} or \\boxed{5}, each in a third of the samples."""

import json
import shutil
import struct

import r1_process

TOKENIZER = r1_process.ROOT / "tests/golden/tokenizer_bytes.json"
WIDTH = 288  # the vocabulary's 263 ids, rounded up to four heads of 72
SCALE = 40.0  # of a logit that is to win
ANSWERS = "345"


def transitions(ids):
    """The tokens that may follow each token."""
    chain = ["\u010a", "</think>", "\\", "b", "o", "x", "e", "d", "{"]
    follow = {ids[a]: [ids[b]] for a, b in zip(chain, chain[1:])}
    follow[ids["{"]] = [ids[digit] for digit in ANSWERS]
    for digit in ANSWERS:
        follow[ids[digit]] = [ids["}"]]
    follow[ids["}"]] = [ids["<eos>"]]
    return follow


def matrix(rows, columns, entries):
    values = [0.0] * (rows * columns)
    for (row, column), value in entries.items():
        values[row * columns + column] = value
    return struct.pack(f"<{len(values)}f", *values)


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (shape, raw) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data),
                                                                         len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make_model(folder, positions=8192):
    folder.mkdir(parents=True)
    tokenizer = json.loads(TOKENIZER.read_text())
    ids = dict(tokenizer["model"]["vocab"])
    ids.update({token["content"]: token["id"] for token in tokenizer["added_tokens"]})
    vocab = max(ids.values()) + 1
    ones = struct.pack(f"<{WIDTH}f", *([1.0] * WIDTH))
    zeros = lambda *shape: (list(shape), bytes(4 * shape[0] * (shape[1] if shape[1:] else 1)))
    # The norm makes a unit vector sqrt(WIDTH) long.
    head = {(after, before): SCALE / WIDTH ** 0.5
            for before, nexts in transitions(ids).items() for after in nexts}
    layer = "model.layers.0."
    tensors = {
        "model.embed_tokens.weight": ([vocab, WIDTH],
                                      matrix(vocab, WIDTH, {(i, i): 1.0 for i in range(vocab)})),
        layer + "input_layernorm.weight": ([WIDTH], ones),
        layer + "post_attention_layernorm.weight": ([WIDTH], ones),
        layer + "mlp.gate_proj.weight": zeros(32, WIDTH),
        layer + "mlp.up_proj.weight": zeros(32, WIDTH),
        layer + "mlp.down_proj.weight": zeros(WIDTH, 32),
        "model.norm.weight": ([WIDTH], ones),
        "lm_head.weight": ([vocab, WIDTH], matrix(vocab, WIDTH, head)),
    }
    for name in "qkv":
        tensors[layer + f"self_attn.{name}_proj.weight"] = zeros(WIDTH, WIDTH)
        tensors[layer + f"self_attn.{name}_proj.bias"] = zeros(WIDTH)
    tensors[layer + "self_attn.o_proj.weight"] = zeros(WIDTH, WIDTH)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
        "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": vocab,
        "max_position_embeddings": positions, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "eos_token_id": ids["<eos>"]}))
    shutil.copy(TOKENIZER, folder / "tokenizer.json")
    return folder
