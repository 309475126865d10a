"""A small OpenAI-compatible server whose faults are planned by the test."""

import http.server
import json
import ssl
import threading
import time


class QuietServer(http.server.ThreadingHTTPServer):
    """Clients that break off are part of the tests."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


class FakeEndpoint:
    """Answers \\boxed{D} with the last digit D of a request's seed modulo 3, plus 3. `faults` maps
    the number of a request to what goes wrong with it; `fault` says it of all. `certificate` is a pair
    of files, certificate and key, for https."""

    def __init__(self, faults=None, fault=None, delay=0.0, reasoning=False,
                 certificate=None):
        self.faults, self.fault, self.delay, self.reasoning = faults or {}, fault, delay, reasoning
        self.requests, self.headers, self.paths = [], [], []
        self.running, self.running_max = 0, 0
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                outer.answer(self)

        self.server = QuietServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append(dict(handler.headers))
            self.paths.append(handler.path)
            self.running += 1
            self.running_max = max(self.running_max, self.running)
        time.sleep(self.delay)
        try:
            self.send(handler, body, self.faults.get(number, self.fault))
        except OSError:
            pass  # the client broke off
        finally:
            with self.lock:
                self.running -= 1

    def send(self, handler, body, fault):
        status, headers, text = 200, {}, json.dumps(self.completion(handler.path, body))
        if body.get("n", 1) != 1:
            status, text = 400, '{"error": {"message": "n > 1 is not supported"}}'
        elif isinstance(fault, int):
            status, text = fault, json.dumps({"error": {"message": f"planned {fault}"}})
            headers = {"Retry-After": "0.01"} if fault == 429 else {}
        elif callable(fault) and fault(body):
            status, text = 400, '{"detail": "the prompt is too long"}'
        elif fault == "no json":
            text = '{"choices": [{"message": {"content": "cut o'
        elif fault == "no choices":
            text = '{"choices": []}'
        elif fault == "slow":
            time.sleep(10)
        elif fault == "drop":
            handler.close_connection = True
            handler.connection.close()
            return
        elif fault == "drip":
            handler.send_response(200)
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            for _ in range(100):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.1)
            return
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())

    def completion(self, path, body):
        answer = f"\\boxed{{{body['seed'] % 3 + 3}}}"
        choice = {"index": 0, "finish_reason": "stop"}
        if path.endswith("/chat/completions"):
            choice["message"] = {"role": "assistant", "content": f"I think.</think>{answer}"}
            if self.reasoning:
                choice["message"] = {"role": "assistant", "content": answer,
                                     "reasoning_content": "I think."}
        else:
            choice["text"] = f"I think.</think>{answer}"
        return {"id": "x", "object": "completion", "choices": [choice],
                "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
