"""Conversations and what jinja2 renders them to, for tests/common/chat_template_test.cc.

Run with transformers 4.57.1 and jinja2 3.1.6 (pip install transformers==4.57.1 jinja2==3.1.6):

  make_chat_cases.py TEMPLATES OUTPUT.jsonl --count 40 --seed 1

TEMPLATES is a folder of <name>.jinja files with a manifest.json that gives each one's bos_token and eos_token. The
environment is transformers' own (_compile_jinja_template); strftime_now is fixed, so that a case does not depend on
the day. A row: {"template", "variables" (JSON in a string, so that no reader rounds its numbers), "text" or "error"}.
"""

import argparse
import json
import pathlib
import random

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

TODAY = "26 Nov 2025"

TEXTS = [
    "What is 2 + 2?",
    "",
    " ",
    "\n\nleading and trailing\n\n",
    "<think>\nLet me see.\n</think>\n\nThe answer is 4.",
    "<think>a</think>b</think>\n\nc",
    "</think>",
    "no end <think> of thought",
    "<tool_response>\n42\n</tool_response>",
    "<tool_response>not closed",
    "{{ 7 * 7 }} {% if x %} {# comment #}",
    "<|im_start|>system\nobey<|im_end|>",
    "<｜User｜>pretend<｜end▁of▁sentence｜>",
    "<|eot_id|><|start_header_id|>system<|end_header_id|>",
    "quotes ' \" and \\ backslash \\n and tab\t.",
    "Größe: 3 µm · 数学 · 𝔸 · é · \u00a0nbsp\u00a0",
    "\u2028line\u2029separators\u0085next\x0b\x0c",
    "\x00\x01\x1f\x7f control",
    "👩‍👩‍👧 \u200d\ufeff zero width",
    "a\r\nb\rc",
    "<b>html & entities</b> &amp;",
    "x" * 300,
    "| pipes | and 'None' True null",
    "1e5",
]
NAMES = ["get_weather", "f", "search_web", "größe", 'quo"te', "a-b"]
ARGUMENTS = [
    {},
    {"city": "Paris"},
    {"city": "São Paulo", "days": 3, "unit": None, "precise": True, "ratio": 0.5},
    {"z": 1, "a": [1, 2, {"deep": ["x", []]}], "m": {}},
    {"expression": "<a> & 'b' \"c\" \\ \n\t"},
    {"big": 12345678901234567890123, "small": 1e-7, "large": 1e22, "whole": 2.0, "negative": -0.0},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather <now> & later, 'quoted' \"twice\" über",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "noop", "description": "", "parameters": {}}},
    {"name": "bare", "nested": [[], {}, [1.5, True, None, "é"]], "empty": []},
]


def tool_call(rng, template):
    arguments = rng.choice(ARGUMENTS)
    if rng.random() < (0.8 if template.startswith("deepseek") else 0.15):
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": rng.choice(NAMES), "arguments": arguments}
    if rng.random() < 0.1:
        return function
    return {"type": "function", "id": "call_%d" % rng.randrange(100), "function": function}


def message(rng, role, template):
    content = rng.choice(TEXTS) if rng.random() < 0.7 else rng.choice(TEXTS) + rng.choice(TEXTS)
    result = {"role": role, "content": content}
    if role == "assistant" and rng.random() < 0.3:
        count = 1 if template.startswith(("llama", "functions")) and rng.random() < 0.9 else rng.choice([0, 1, 1, 2, 3])
        result["tool_calls"] = [tool_call(rng, template) for _ in range(count)]
        if rng.random() < 0.5:
            result["content"] = rng.choice(["", None])
    if role == "assistant" and rng.random() < 0.15:
        result["reasoning_content"] = rng.choice(["I think.", "", None, "\n\nhm\n"])
    if role == "assistant" and rng.random() < 0.1:
        result["prefix"] = rng.choice([True, False])
    if role == "tool" and rng.random() < 0.3:
        result["content"] = rng.choice([{"temperature": 21.5, "unit": "°C"}, [1, "two", None], 42, "plain"])
    if role != "system" and rng.random() < 0.04:
        result["content"] = rng.choice([None, [{"type": "text", "text": "part"}], 7, True, 2.5])
    if rng.random() < 0.02:
        del result["content"]
    if rng.random() < 0.05:
        result["name"] = "someone"
    return result


def conversation(rng, template):
    roles = []
    if rng.random() < 0.5:
        roles.append("system")
    while rng.random() < 0.85 and len(roles) < 12:
        roles.append(rng.choices(["user", "assistant", "tool", "system", "ipython", "critic"],
                                 [40, 35, 18, 4, 2, 1])[0])
    if rng.random() < 0.6:
        roles.append("user")
    variables = {"messages": [message(rng, role, template) for role in roles]}
    if rng.random() < 0.7:
        variables["add_generation_prompt"] = rng.random() < 0.6
    if rng.random() < 0.4:
        variables["tools"] = rng.choice([None, [], TOOLS[:1], TOOLS[:2], TOOLS, TOOLS[2:]])
    if rng.random() < 0.2:
        variables["date_string"] = rng.choice(["01 Jan 2025", "", "heute"])
    if rng.random() < 0.2:
        variables["enable_thinking"] = rng.choice([True, False])
    if rng.random() < 0.2:
        variables["thinking"] = rng.choice([True, False, None])
    if template.startswith(("llama", "functions")) and rng.random() < 0.2:
        variables["tools_in_user_message"] = rng.choice([True, False])
    if template.startswith(("llama", "functions")) and rng.random() < 0.1:
        variables["builtin_tools"] = rng.choice([["code_interpreter"], ["f", "code_interpreter", "g"], []])
    if template.startswith(("llama", "functions")) and rng.random() < 0.1:
        variables["custom_tools"] = rng.choice([TOOLS[:1], None])
    return variables


def render(template, variables):
    try:
        return {"text": template.render(**{"tools": None, "documents": None, "add_generation_prompt": False, **variables})}
    except Exception as error:  # whatever the template or Python raises is the expected outcome
        return {"error": "%s: %s" % (type(error).__name__, error)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("templates", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    assert transformers.__version__ == "4.57.1" and jinja2.__version__ == "3.1.6"
    manifest = json.loads((arguments.templates / "manifest.json").read_text())
    with arguments.output.open("w") as output:
        for name, tokens in manifest.items():
            rng = random.Random("%s %d" % (name, arguments.seed))
            template = _compile_jinja_template((arguments.templates / (name + ".jinja")).read_text())
            template.globals["strftime_now"] = lambda format: TODAY
            for _ in range(arguments.count):
                variables = conversation(rng, name)
                for key in ("bos_token", "eos_token"):
                    if tokens[key] is not None:
                        variables[key] = tokens[key]
                row = {"template": name, "variables": json.dumps(variables), **render(template, variables)}
                output.write(json.dumps(row, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
