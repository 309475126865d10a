"""Small templates, one feature of the language each, and what jinja2 renders them to.

Run with transformers 4.57.1 and jinja2 3.1.6 (pip install transformers==4.57.1 jinja2==3.1.6):

  make_jinja_cases.py OUTPUT.jsonl

A row: {"source", "variables" (JSON in a string), "text" or "error"}, for tests/common/chat_template_test.cc. The
environment and the fixed strftime_now are those of make_chat_cases.py.
"""

import json
import pathlib
import sys

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

import make_chat_cases

VARIABLES = {
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": " Hello, Wörld \n"},
        {"role": "assistant", "content": "<think>\nx\n</think>\n\nHi", "tool_calls": []},
    ],
    "n": 7,
    "f": 2.5,
    "yes": True,
    "nothing": None,
    "s": "a,b,,c",
    "words": "  one  two\tthree\n",
    "d": {"b": 1, "a": {"x": [1, 2]}, "C": "z"},
    "l": [3, 1, 2],
    "strings": ["b", "A", "c", "a"],
    "records": [{"k": "x", "v": 2}, {"k": "y", "v": 1}, {"k": "x"}],
    "empty": [],
    "unicode": "日本語 ß é 👍",
    "quotes": "it's \"so\"",
    "control": "\u0000\u001b\u007f\u00ad\u200b\ufeff\U000e0001",
}

SOURCES = r"""
{{ n }} {{ f }} {{ yes }} {{ nothing }} {{ s }} {{ missing }}|
{{ n + 1 }} {{ n - 10 }} {{ n * 2 }} {{ n / 2 }} {{ n // 2 }} {{ -n // 2 }} {{ n % 3 }} {{ -n % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }}
{{ f * 2 }} {{ f // 1 }} {{ -f // 1 }} {{ f % 2 }} {{ -f % 2 }} {{ 1 / 3 }} {{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.5e300 * 1e10 }}
{{ 7 / 0 }}
{{ "a" + "b" }}{{ "a" ~ 1 ~ none ~ true ~ 1.0 }}{{ "ab" * 3 }}{{ 2 * "x" }}{{ [1] + [2, 3] }}{{ (1,) + (2,) }}{{ [0] * 3 }}
{{ "a" + 1 }}
{{ 1 + "a" }}
{{ none + 1 }}
{{ missing + 1 }}
{{ "x" + missing }}
{{ missing.x }}
{{ missing["x"] }}
{{ nothing.x }}|{{ nothing["x"] }}|{{ n.x }}|{{ d.nope }}|{{ d["nope"] }}|{{ l[10] }}|{{ l["a"] }}
{{ d.a.x[0] }} {{ d["a"]["x"][-1] }} {{ l.0 }} {{ messages[0].role }} {{ s[0] }} {{ unicode[1] }} {{ unicode[-1] }}
{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[5:] }} {{ l[-2:] }} {{ s[1:3] }} {{ unicode[::-1] }} {{ unicode[:3] }} {{ l[2:0:-1] }}
{{ l[none:2] }}
{{ l["a":] }}
{{ l[::0] }}
{{ d[1:] }}
{{ 1 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ "a" < "b" }} {{ "Z" < "a" }} {{ [1, 2] < [1, 3] }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ "1" == 1 }} {{ none == none }}
{{ "a" < 1 }}
{{ none < 1 }}
{{ missing == missing }} {{ missing == none }} {{ missing != 1 }}
{{ "a" in s }} {{ "x" not in s }} {{ 1 in l }} {{ "b" in d }} {{ "x" in missing }} {{ 4 in [1, [4]] }} {{ "" in "" }}
{{ 1 in s }}
{{ 1 in n }}
{{ not yes }} {{ not nothing }} {{ yes and n }} {{ nothing or "default" }} {{ 0 or [] or {} }} {{ 1 and 2 }} {{ not 1 == 2 }} {{ not not n }}
{{ "a" if yes }} {{ "a" if nothing }}|{{ "a" if nothing else "b" }} {{ 1 if 0 else 2 if 0 else 3 }}
{{ -n }} {{ +n }} {{ -f }} {{ - -n }} {{ -true }} {{ 3 - -2 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }}
{{ -"a" }}
{{ "a" ~ 1 + 2 }}
{{ "a" ~ 3 * 2 ~ "b" }} {{ 1 ~ 2 }}
{{ (1, 2) }} {{ (1,) }} {{ () }} {{ 1, 2 }} {{ [] }} {{ {} }} {{ {"a": 1, "b": [none, true]} }} {{ {1: 2, 1.0: 3, true: 4} }}
{{ {[1]: 2} }}
{{ quotes }} {{ [quotes, "it's", 'say "x"', "back\\slash", "tab\t\n"] }}
{{ [control, unicode] }}
{{ d }} {{ l }} {{ messages }}
{{ "esc \n \t \\ \' \" \x41 \u00e9 \101 \d \é" }} {{ 'single "q"' }} {{ "a" "b" }}
{{ 1_000 }} {{ 1.5e3 }} {{ 1e-7 }} {{ 12345678901234567890 }}
{{ true }} {{ True }} {{ none }} {{ None }} {{ false }}
{{ s.split(",") }} {{ s.split(",", 1) }} {{ s.rsplit(",", 1) }} {{ words.split() }} {{ words.split(none, 1) }} {{ words.rsplit(none, 1) }} {{ "".split() }} {{ "".split(",") }} {{ s.split("zz") }}
{{ s.split("") }}
{{ words.strip() }}|{{ words.lstrip() }}|{{ words.rstrip() }}|{{ s.strip("ac") }}|{{ "xxaxx".strip("x") }}|{{ "\n\na\n".lstrip("\n") }}|{{ "日a日".strip("日") }}
{{ s.startswith("a") }} {{ s.endswith(("b", "c")) }} {{ s.startswith("") }} {{ s.replace(",", ";") }} {{ s.replace(",", ";", 1) }} {{ "ab".replace("", "-") }} {{ s.replace("b", "") }}
{{ s.upper() }} {{ "ABC Dé".lower() }} {{ "hELLO wORLD".capitalize() }} {{ "éa".upper() }} {{ "ÀÉ".lower() }} {{ "".upper() }}
{{ s.find("b") }} {{ s.rfind(",") }} {{ s.find("z") }} {{ unicode.find("本") }} {{ s.count(",") }} {{ s.index("c") }} {{ "aaa".count("aa") }} {{ "ab".count("") }}
{{ s.index("z") }}
{{ ",".join(strings) }} {{ ",".join([]) }} {{ "-".join("abc") }}
{{ ",".join(l) }}
{{ "a\nb\r\nc\n".splitlines() }} {{ "a\nb".splitlines(true) }} {{ "".splitlines() }}
{{ "12".isdigit() }} {{ "".isdigit() }} {{ "ab".isalpha() }} {{ "a1".isalnum() }} {{ " \t".isspace() }} {{ "abc".removeprefix("a") }} {{ "abc".removesuffix("bc") }} {{ "abc".removesuffix("x") }}
{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.get("b") }} {{ d.get("zz") }} {{ d.get("zz", 5) }}
{{ d.update({"x": 1}) }}
{{ l.append(4) }}
{{ l.index(1) }} {{ l.count(3) }}
{{ l.index(9) }}
{{ n() }}
{{ missing() }}
{{ s.nope() }}
{{ words | trim }}|{{ s | trim("a") }}|{{ n | trim }}|{{ missing | trim }}|{{ nothing | trim }}
{{ s | length }} {{ l | length }} {{ d | count }} {{ missing | length }} {{ unicode | length }}
{{ n | length }}
{{ d | tojson }} {{ l | tojson }} {{ unicode | tojson }} {{ quotes | tojson }} {{ control | tojson }} {{ nothing | tojson }} {{ f | tojson }} {{ yes | tojson }}
{{ d | tojson(indent=2) }} {{ [] | tojson(indent=2) }} {{ {"a": {}, "b": [[]]} | tojson(indent=1) }} {{ d | tojson(indent="\t") }} {{ [1, 2] | tojson(indent=0) }}
{{ d | tojson(sort_keys=true) }} {{ d | tojson(separators=(",", ":")) }} {{ unicode | tojson(ensure_ascii=true) }} {{ control | tojson(true) }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}
{{ missing | tojson }}
{{ {"a": missing} | tojson }}
{{ range | tojson }}
{{ l | join(", ") }} {{ strings | join }} {{ records | join("-", attribute="v") }} {{ "abc" | join("-") }} {{ [1, none, "x", 2.0, [1]] | join("|") }}
{{ l | first }} {{ l | last }} {{ empty | first }}|{{ empty | last }}|{{ s | first }} {{ l | sort }} {{ strings | sort }} {{ strings | sort(case_sensitive=true) }} {{ l | sort(reverse=true) }} {{ records | sort(attribute="k") }}
{{ [1, "a"] | sort }}
{{ l | reverse | list }} {{ s | reverse }} {{ l | min }} {{ l | max }} {{ strings | max }} {{ empty | max }}| {{ l | sum }} {{ records[:2] | sum(attribute="v") }} {{ [1.5, 2] | sum }}
{{ ["a", "A", "b", "a"] | unique | list }} {{ ["a", "A"] | unique(true) | list }} {{ [1, 1.0, true, 2] | unique | list }}
{{ d | items | list }} {{ missing | items | list }} {{ d | dictsort }} {{ d | dictsort(true) }} {{ {"b": 2, "a": 3} | dictsort(false, "value") }} {{ d | dictsort(reverse=true) }}
{{ l | items | list }}
{{ records | map(attribute="k") | list }} {{ records | map(attribute="v", default=0) | list }} {{ strings | map("upper") | list }} {{ strings | map("replace", "b", "Q") | join(",") }} {{ messages | map(attribute="role") | join(" ") }}
{{ records | selectattr("v") | list }} {{ records | selectattr("k", "equalto", "x") | map(attribute="v") | list }} {{ records | rejectattr("v", "defined") | list }} {{ l | select("gt", 1) | list }} {{ l | reject("odd") | list }} {{ [0, 1, "", "a"] | select | list }}
{% if records | selectattr("k", "equalto", "nope") %}a generator is true{% endif %}
{{ (records | selectattr("k", "equalto", "nope") | list) or "none" }} {{ messages | selectattr("role", "in", ["user", "tool"]) | list | length }}
{% set g = l | map("string") %}{{ g | join }}|{{ g | join }}|
{% set g = l | map("string") %}{{ g | first }}|{{ g | join }}|
{{ missing | default("x") }} {{ nothing | default("x") }} {{ nothing | default("x", true) }} {{ "" | d("y", boolean=true) }} {{ missing | default }}|
{{ "3" | int }} {{ "3.7" | int }} {{ "x" | int }} {{ "x" | int(5) }} {{ 3.9 | int }} {{ -3.9 | int }} {{ none | int }} {{ " 12 " | int }} {{ true | int }} {{ "2.5" | float }} {{ "x" | float }} {{ 3 | float }} {{ "1e3" | float }}
{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.567 | round(2) }} {{ 42 | round }} {{ 2.1 | round(method="ceil") }} {{ 2.19 | round(1, "floor") }} {{ -3 | abs }} {{ -3.5 | abs }} {{ (0-3) | abs }} {{ 2.675 | round(2) }}
{{ n | string }} {{ nothing | string }} {{ l | string }} {{ [1] | list }} {{ "ab" | list }} {{ d | list }} {{ s | upper }} {{ s | capitalize }} {{ "A" | lower }} {{ s | replace(",", ";") }} {{ n | replace(7, 8) }} {{ s | replace(",", ";", 2) }}
{{ "a\nb\n\nc" | indent }}|{{ "a\nb" | indent(2) }}|{{ "a\nb" | indent(2, true) }}|{{ "a\n\nb" | indent(2, blank=true) }}|{{ "a\nb" | indent("> ") }}|{{ "" | indent }}|{{ "a\n" | indent }}|
{{ n is defined }} {{ missing is defined }} {{ missing is undefined }} {{ nothing is none }} {{ n is number }} {{ yes is number }} {{ yes is boolean }} {{ n is integer }} {{ yes is integer }} {{ f is float }} {{ s is string }} {{ d is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ n is iterable }} {{ s is iterable }} {{ missing is iterable }} {{ none is iterable }}
{{ n is odd }} {{ n is even }} {{ n is divisibleby(7) }} {{ n is divisibleby 2 }} {{ n is eq 7 }} {{ n is equalto(8) }} {{ n is ne 8 }} {{ n is gt 3 }} {{ n is lt 3 }} {{ n is ge 7 }} {{ n is le 6 }} {{ "a" is in s }} {{ yes is true }} {{ yes is false }} {{ 1 is true }} {{ none is sameas none }} {{ true is sameas true }} {{ n is not none }} {{ not n is none }} {{ raise_exception is callable }} {{ n is callable }}
{{ "a" is odd }}
{{ 1 is none or 2 is none and 3 }} {{ n is defined and n > 3 }} {{ (n is not defined) or false }}
{% if n > 5 %}big{% elif n > 3 %}mid{% else %}small{% endif %}
{% if n > 10 %}big{% elif n > 3 %}mid{% else %}small{% endif %}
{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in "añb" %}[{{ c }}]{% endfor %}{% for x in missing %}{{ x }}{% else %}none{% endfor %}
{% for x in n %}{% endfor %}
{% for a, b in [[1, 2], "xy", (3, 4)] %}{{ a }}{{ b }}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{% else %}nothing{% endfor %}{% for x in l if x > 9 %}{{ x }}{% else %}nothing{% endfor %}
{% for x in range(3) %}{{ x }}{% endfor %}{% for x in range(1, 10, 4) %}{{ x }}{% endfor %}{{ range(3, 0, -1) | list }}{% for x in range(0) %}x{% else %}-{% endfor %}
{% for x in range(1000000) %}{% endfor %}
{% for x in l %}{% for y in l %}{% if y == 2 %}{% break %}{% endif %}{% if y == 3 %}{% continue %}{% endif %}{{ x }}{{ y }} {% endfor %}{{ loop.index }}{% endfor %}
{% set x = 1 %}{% for y in l %}{{ x }}{% set x = x + y %}{{ x }} {% endfor %}{{ x }}
{% set ns = namespace(x=1, y="a") %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z }}|
{% set ns = namespace() %}{% set ns.a = [1] %}{{ ns.a }}{{ ns["a"] }}{% set ns = namespace({"q": 2}, r=3) %}{{ ns.q }}{{ ns.r }}
{% set n.x = 1 %}
{% set x = 5 %}{% if yes %}{% set x = 6 %}{% endif %}{{ x }}
{% if nothing %}{% set z = 1 %}{% endif %}{{ z is defined }}{{ z }}
{% for x in l %}{% if loop.first %}{% set seen = x %}{% endif %}[{{ seen }}]{% endfor %}{{ seen is defined }}
{% set a, b = 1, [2] %}{{ a }}{{ b }}{% set (c, e) = "xy" %}{{ c }}{{ e }}
{% set block %}<{{ n }}>{% endset %}{{ block }}{{ block | length }}{% set up | upper | trim %} abc {% endset %}{{ up }}
{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c=9) }} {{ m(b=5, a=4) }} {{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro show(items) %}{% for i in items %}{{ i }}{{ ";" if not loop.last }}{% endfor %}{% endmacro %}{{ show(l) }}{{ show([]) }}{{ show(l) | length }}{{ n }}
{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(4) }}
{% with a = 1, b = n %}{{ a }}{{ b }}{% set a = 5 %}{{ a }}{% endwith %}{{ a is defined }}
{% filter upper %}abc {{ s }}{% endfilter %}
{% generation %}answer {{ n }}{% endgeneration %}!
{% raw %}{{ not }} {% parsed %}{% endraw %}|{%- raw -%}  x  {%- endraw -%}  |
{# a comment #}a{#- strips -#}  b
   {% if yes %}
   x
   {% endif %}
   y
a {%- if yes -%} b {%- endif -%} c
a {{- " b " -}} c
  {%+ if yes %}kept{% endif +%}
next
{{ date_string | default(strftime_now("%d %b %Y")) }} {{ strftime_now is defined }}
{{ raise_exception("stop: " ~ n) }}
{{ dict(a=1, b=2) }} {{ dict({"x": 1}, y=2) }}
{{ messages | length - 1 }} {{ (messages | length) - 1 }} {{ messages[messages | length - 1].role }} {{ messages[-1]["content"].split("</think>")[-1].lstrip("\n") }}
{{ "</think>" in messages[-1].content and messages[-1].content.split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n") }}
{% for message in messages[::-1] %}{{ (messages | length - 1) - loop.index0 }}{{ message.role }}{% endfor %}
{% for m in messages %}{% if loop.index0 == 0 or messages[loop.index0 - 1].role != m.role %}{{ m.role }}{% endif %}{% endfor %}
{{ messages | tojson }}
{{ 1 | nofilter }}
{{ 1 is notest }}
{% unknown %}
{% if %}
{% if yes %}
{{ 
{{ 1 + }}
{% for x in %}{% endfor %}
{% endif %}
{{ "unterminated }}
{{ (1 }}
{{ 1 }} }} %} #} text
{{ [1, 2,] }} {{ {"a": 1,} }} {{ (1, 2,) }}
{{ a.b.c if a is defined else "none" }}
{{ [[1, 2], [3]][0][1] }} {{ {"a": [1]}["a"][0] }} {{ ("x", "y")[1] }} {{ "abc"[1] }} {{ "abc".upper()[0] }}
{{ l | map("string") | map("upper") | join("+") | replace("+", "-") | trim }}
{{ n if n is number and n is not string else s }}
{{ none is none }}{{ "" is string }}{{ [] is iterable }}
{{ f == 2.5 }} {{ 2.50 }} {{ 100000000000000000.0 }} {{ 123456789.123 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }} {{ 0.1 + 0.2 }} {{ 1e22 }} {{ 1e21 + 1 }}
""".strip("\n").split("\n")

# Templates of several lines, which test what is stripped around tags.
BLOCKS = [
    "{% for m in messages %}\n  {% if m.role == 'user' %}\n    U: {{ m.content }}\n  {% else %}\n    {{ m.role }}\n  {% endif %}\n{% endfor %}\nend\n",
    "{%- for m in messages -%}\n  {{- m.role -}}\n{%- endfor -%}\n\n",
    "a\n\n{{ n }}\n\n{# c #}\n  {# d #}  \nb\n\n",
    "\n{% set x = 1 %}\n\n  {% set y = 2 %} \n{{ x }}{{ y }}\n",
    "line one \r\n{% if yes %}\r\nline two\r{% endif %}\r\n",
    "\t{%- if yes %}\n\t\ttabbed\n\t{%- endif %}\n",
    "{%- if yes +%}\n kept newline\n{%+ endif -%}\n  x",
    "   {{ n }}   {% if yes %}   {{ f }}   {% endif %}   ",
    "{% raw %}\n  {{ x }}\n{% endraw %}\nafter",
    "{% set x %}\n  block\n{% endset %}[{{ x }}]",
    "\u00a0\u2003{%- if yes %} nbsp {% endif -%}\u3000\u00a0x",
    "{% macro m(x) %}\n  <{{ x }}>\n{% endmacro %}\n{{ m(1) }}{{ m(2) }}\n",
    "{{ '{{' }}{{ '%}' }}{{ \"#}\" }}{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': 1} }}",
]


def main():
    assert transformers.__version__ == "4.57.1" and jinja2.__version__ == "3.1.6"
    with pathlib.Path(sys.argv[1]).open("w") as output:
        for source in SOURCES + BLOCKS:
            row = {"source": source, "variables": json.dumps(VARIABLES)}
            try:
                template = _compile_jinja_template(source)
                template.globals["strftime_now"] = lambda format: make_chat_cases.TODAY
                row.update(make_chat_cases.render(template, VARIABLES))
            except jinja2.TemplateError as error:
                row["error"] = "%s: %s" % (type(error).__name__, error)
            output.write(json.dumps(row, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
