#!/usr/bin/env python3
"""Every config is accepted by --dry-run and planned by `r1 plan`, those of the papers without their models.

  plan_test.py --r1 build/release/bin/r1
"""

import json

import r1_process
from r1_process import ROOT, call

CONFIGS = sorted([*(ROOT / "configs").glob("*.toml"), *(ROOT / "configs/paper").glob("*.toml"),
                  ROOT / "tests/study/study.toml"])


def check_every_config(r1):
    assert len(CONFIGS) >= 18, CONFIGS
    for config in map(str, CONFIGS):
        dry = call(r1, ["run", config, "--dry-run"])
        assert dry.returncode == 0, (config, dry.stderr)
        planned = call(r1, ["plan", config, "--json", "--gpus", "512"])
        assert planned.returncode == 0, (config, planned.stderr)
        plan = json.loads(planned.stdout)
        assert plan["learner"]["count"] + plan["rollout"]["count"] == 512, config
        assert all(stage["seconds_per_step"] > 0 for stage in plan["stages"]), config


def check_missing_files(r1):
    config = str(ROOT / "configs/paper/r1.toml")
    assert "not there yet: models/DeepSeek-V3-Base" in call(r1, ["plan", config]).stderr
    refused = call(r1, ["run", config])
    assert refused.returncode == 2 and "model.path" in refused.stderr, refused.stderr


def check_errors(r1):
    config = str(ROOT / "configs/r1_mini.toml")
    for arguments, message in ((["--gpu", "h2000"], 'did you mean "h200"'),
                               (["--gpus", "0"], "expected an integer from 1")):
        result = call(r1, ["plan", config] + arguments)
        assert result.returncode == 2 and message in result.stderr, result.stderr


def main():
    r1 = r1_process.parse_arguments()
    check_every_config(r1)
    check_missing_files(r1)
    check_errors(r1)


if __name__ == "__main__":
    main()
