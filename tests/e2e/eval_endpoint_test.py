#!/usr/bin/env python3
"""r1 eval --endpoint against a small fake server: what is asked, retries of everything that a server
does wrong, refusals, deadlines, and going on after a kill."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import fake_endpoint
import r1_process

KEY = "sk-secret-4711"
SUITE = """
name = "digits"
metrics = ["pass@4"]
[data]
file = "{data}"
prompt_column = "question"
[prompt]
template = "{{prompt}} Box it."
[sampling]
samples = 4
[[reward]]
name = "math"
"""
PROBLEMS = 10


class Case:
    def __init__(self, r1, folder):
        self.r1, self.folder, self.runs = r1, folder, 0
        data = folder / "data.jsonl"
        data.write_text("".join(json.dumps({"question": f"Which? {i}", "answer": "3"}) + "\n"
                                for i in range(PROBLEMS)))
        self.suite = folder / "suite.toml"
        self.suite.write_text(SUITE.format(data=data))

    def arguments(self, url, *more, out=None):
        self.runs += 1
        out = out or self.folder / f"out{self.runs}"
        return [self.r1, "eval", "--suite", str(self.suite), "--endpoint", url, "--endpoint-model",
                "m", "--output", str(out), "--retry-seconds", "0.01", *map(str, more)]

    def run(self, url, *more, out=None, code=0, key=None, seconds=60):
        environment = {name: value for name, value in os.environ.items()
                       if name != "OPENAI_API_KEY"}
        if key:
            environment["OPENAI_API_KEY"] = key
        result = subprocess.run(self.arguments(url, *more, out=out), capture_output=True, text=True,
                                timeout=seconds, cwd=r1_process.ROOT, env=environment, check=False)
        assert result.returncode == code, result
        return result


def pass_at_1(text):
    return json.loads(text)["metrics"]["eval/digits/pass@1"]


def check_requests(case):
    with fake_endpoint.FakeEndpoint(delay=0.02) as server:
        out = case.folder / "requests"
        printed = case.run(server.url, "--json", "--concurrency", 5, out=out, key=KEY)
        report = json.loads(printed.stdout)
        assert len(server.requests) == 4 * PROBLEMS == report["counts"]["samples"], report
        assert 2 <= server.running_max <= 5, server.running_max
        assert set(server.paths) == {"/v1/chat/completions"}
        assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)
        body = server.requests[0]
        assert "n" not in body and body["stream"] is False, body
        assert body | {"seed": 0, "messages": None} == {
            "model": "m", "temperature": 0.6, "top_p": 0.95, "max_tokens": 32768, "seed": 0,
            "stream": False, "messages": None}, body
        contents = {request["messages"][0]["content"] for request in server.requests}
        assert contents == {f"Which? {i} Box it." for i in range(PROBLEMS)}, contents
        assert len({request["seed"] for request in server.requests}) == 4 * PROBLEMS
        expected = sum(request["seed"] % 3 == 0 for request in server.requests) / (4 * PROBLEMS)
        assert abs(pass_at_1(printed.stdout) - expected) < 1e-12, (report, expected)
        assert report["metrics"]["eval/digits/length_mean"] == 7, report
        # The key is in no file and no output.
        assert KEY not in printed.stdout + printed.stderr
        assert not any(KEY in path.read_text() for path in out.iterdir())
        # Nothing is asked again.
        case.run(server.url, out=out)
        assert len(server.requests) == 4 * PROBLEMS
        other = case.run(server.url, "--endpoint-extra", '{"top_k": 5}', out=out, code=2)
        assert "endpoint_extra" in other.stderr, other
        return (out / "report.json").read_bytes(), (out / "samples.jsonl").read_bytes()


def check_styles(case):
    with fake_endpoint.FakeEndpoint() as server:
        plain = case.run(server.url, "--json", "--set", "prompt.style=plain")
        assert server.paths[-1] == "/v1/completions"
        assert server.requests[-1]["prompt"].endswith("Box it.<think>\n"), server.requests[-1]
        case.run(server.url + "/completions", "--set", "prompt.style=r1_zero", "--endpoint-extra",
                 '{"max_tokens": null, "max_completion_tokens": 5}')
        body = server.requests[-1]
        assert server.paths[-1] == "/v1/completions" and "max_tokens" not in body, body
        assert body["max_completion_tokens"] == 5 and "\nAssistant:<think>\n" in body["prompt"]
        chat = case.run(server.url + "/chat/completions", "--json")
        assert pass_at_1(chat.stdout) == pass_at_1(plain.stdout)
    with fake_endpoint.FakeEndpoint(reasoning=True) as server:
        out = case.folder / "reasoning"
        apart = case.run(server.url, "--json", out=out)
        assert pass_at_1(apart.stdout) == pass_at_1(chat.stdout)
        text = json.loads((out / "samples.jsonl").read_text().splitlines()[0])["text"]
        assert text.startswith("<think>\nI think.\n</think>\n\n\\boxed{"), text


def check_retries(case, expected):
    """Whatever the server does wrong for a while, the report is the same; but for its name."""
    faults = dict(enumerate([500, 429, "no json", "no choices", "drop", 503, "slow", 502, 408,
                             "drip", "drop"]))
    with fake_endpoint.FakeEndpoint(faults=faults) as server:
        out = case.folder / "retries"
        begin = time.monotonic()
        case.run(server.url, "--request-seconds", "1.5", out=out)
        assert time.monotonic() - begin < 30
        # A busy machine may miss a deadline once more.
        assert len(server.requests) >= 4 * PROBLEMS + len(faults), len(server.requests)
        assert (out / "samples.jsonl").read_bytes() == expected[1]


def check_refusals(case):
    for status in (401, 403, 404, 302):
        with fake_endpoint.FakeEndpoint(fault=status) as server:
            result = case.run(server.url, "--concurrency", 2, key=KEY, code=3)
            assert f"HTTP {status}" in result.stderr and f"planned {status}" in result.stderr, result
            assert "the same command goes on" in result.stderr and KEY not in result.stderr, result
            assert len(server.requests) <= 2, len(server.requests)
    # One that fails for ever is given up in time, and so is one that is not there.
    for fault in (500, "no json", "drop"):
        with fake_endpoint.FakeEndpoint(fault=fault) as server:
            case.run(server.url, "--attempts", 3, code=3)
            assert len(server.requests) <= 3 * 16, len(server.requests)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        assert "Connection" in case.run(address, "--attempts", 2, code=3).stderr


def check_https(case, expected):
    """A certificate that nobody vouches for is refused; one that the machine trusts is not."""
    if not shutil.which("openssl"):
        print("no openssl program: https is not tested")
        return
    certificate = case.folder / "cert.pem", case.folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out",
                    certificate[0], "-keyout", certificate[1]], check=True, capture_output=True)
    with fake_endpoint.FakeEndpoint(certificate=certificate) as server:
        refused = case.run(server.url, key=KEY, code=3)
        assert "certificate" in refused.stderr and not server.requests, refused
        os.environ["SSL_CERT_FILE"] = str(certificate[0])
        out = case.folder / "https"
        case.run(server.url, out=out, key=KEY)
        del os.environ["SSL_CERT_FILE"]
        assert (out / "samples.jsonl").read_bytes() == expected[1]


def check_missing(case):
    """Samples that the server will not answer are missing, the others are kept and reported."""
    out = case.folder / "missing"
    too_long = lambda body: "Which? 7" in body["messages"][0]["content"]
    with fake_endpoint.FakeEndpoint(fault=too_long) as server:
        result = case.run(server.url, "--json", out=out, code=3)
        report = json.loads(result.stdout)
        assert report["counts"]["missing"] == 4, report["counts"]
        assert report["counts"]["samples"] == 4 * PROBLEMS - 4, report["counts"]
        assert "4 samples: " in result.stderr and "the prompt is too long" in result.stderr, result
        server.fault = None
        before = len(server.requests)
        case.run(server.url, out=out)
        assert len(server.requests) == before + 4


def check_kills(case, expected):
    with fake_endpoint.FakeEndpoint(delay=0.05) as server:
        for how in (signal.SIGKILL, signal.SIGTERM):
            out = case.folder / f"kill{int(how)}"
            arguments = case.arguments(server.url, "--concurrency", 4, out=out)
            process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, cwd=r1_process.ROOT)
            samples = out / "samples.jsonl"
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and not (samples.exists() and
                                                       samples.stat().st_size > 1000):
                time.sleep(0.01)
            begin = time.monotonic()
            process.send_signal(how)
            process.communicate(timeout=30)
            assert process.returncode == (4 if how == signal.SIGTERM else -9), process.returncode
            assert time.monotonic() - begin < 5
            kept = len(samples.read_text().splitlines())
            assert 0 < kept < 4 * PROBLEMS, kept
            before = len(server.requests)
            case.run(server.url, "--concurrency", 4, out=out)
            assert len(server.requests) - before <= 4 * PROBLEMS - kept + 1
            assert samples.read_bytes() == expected[1]
    # A signal does not wait for an answer that takes long.
    with fake_endpoint.FakeEndpoint(fault="slow") as server:
        process = subprocess.Popen(case.arguments(server.url), stderr=subprocess.DEVNULL,
                                   cwd=r1_process.ROOT)
        while not server.requests:
            time.sleep(0.01)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 4 and time.monotonic() - begin < 5


def check_bad_input(case):
    url = "http://127.0.0.1:1/v1"
    for address, more, message in (
            ("ftp://x", (), "http://"), ("http://", (), "host"), ("http://a b/v1", (), "spaces"),
            ("http://user:pw@host/v1", (), "user name"), ("http://x:99999/v1", (), "host"),
            ("http://x/v1/completions", (), "/chat/completions"),
            ("http://x/v1/chat/completions", ("--set", "prompt.style=plain"), "/completions"),
            (url, ("--endpoint-extra", "[1]"), "expected an object"),
            (url, ("--endpoint-extra", "{"), "--endpoint-extra"),
            (url, ("--concurrency", 0), "--concurrency"), (url, ("--attempts", 99), "--attempts"),
            (url, ("--request-seconds", "nan"), "--request-seconds"),
            (url, ("--api-key-env", "R1_NO_SUCH_KEY"), "R1_NO_SUCH_KEY"),
            (url, ("--threads", 2), "--threads with --endpoint"),
            (url, ("--model", "m"), "one of --model and --endpoint")):
        assert message in case.run(address, *more, code=2).stderr, (address, more)
    # A key goes to no other machine in the clear.
    refused = case.run("http://192.0.2.1/v1", key=KEY, code=2)
    assert "unencrypted" in refused.stderr and KEY not in refused.stderr, refused
    assert "visible ASCII" in case.run(url, key="a\nb", code=2).stderr


def main():
    folder = pathlib.Path(r1_process.new_folder())
    case = Case(r1_process.parse_arguments(), folder)
    expected = check_requests(case)
    check_styles(case)
    check_retries(case, expected)
    check_refusals(case)
    check_https(case, expected)
    check_missing(case)
    check_kills(case, expected)
    check_bad_input(case)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
