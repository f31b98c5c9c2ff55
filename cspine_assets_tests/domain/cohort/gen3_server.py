"""A small server that plays what `cspine download` uses of a Gen3 data commons and its store, faults included."""

import base64
import gzip
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SECRET = "c2VjcmV0"  # noqa: S105 - the server's own
TOKEN_PATH = "/user/credentials/cdis/access_token"  # noqa: S105


def jwt(**claims) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)
    ]
    return ".".join([*parts, SECRET])


@dataclass
class Commons:
    """What the commons holds and how it misbehaves.

    Attributes:
        objects: Content by object id.
        faults: Faults by object id, each used once, in order: expired, short, long, altered, forbidden, unknown or
            broken; or how it is sent: labelled (stored as gzip and said to be encoded so), packed (on the way).
        asked: Paths that were asked for, in order.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    accepts_key: bool = True
    address: str = ""

    def next_fault(self, object_id: str, *kinds: str) -> str | None:
        waiting = self.faults.get(object_id, [])
        return waiting.pop(0) if waiting and waiting[0] in kinds else None

    def write_manifest(self, path: Path) -> Path:
        entries = [
            {
                "object_id": object_id,
                "file_name": f"part/{object_id.rsplit('/', 1)[-1]}.bin",
                "file_size": len(content),
                "md5sum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
                "commons_url": self.address,
            }
            for object_id, content in self.objects.items()
        ]
        path.write_text(json.dumps(entries))
        return path

    def write_key(self, path: Path, issuer: str | None = None) -> Path:
        key = jwt(iss=f"{issuer or self.address}/user", exp=4_000_000_000)
        path.write_text(json.dumps({"api_key": key, "key_id": "k"}))
        return path


def serve(commons: Commons) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

        def _send(self, status: int, body: bytes, length: int | None = None, encoding: str | None = None) -> None:
            self.send_response(status)
            if encoding:
                self.send_header("Content-Encoding", encoding)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def _json(self, status: int, content: object) -> None:
            self._send(status, json.dumps(content).encode())

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != TOKEN_PATH or not commons.accepts_key:
                return self._json(401, {"error": f"refused {body['api_key']}"})
            return self._json(200, {"access_token": jwt(iss=f"{commons.address}/user", exp=4_000_000_000)})

        def do_GET(self):
            path = self.path.split("?")[0]
            commons.asked.append(path)
            if path.startswith("/user/data/download/"):
                return self._sign(path.removeprefix("/user/data/download/"))
            return self._store(path.removeprefix("/store/"))

        def _sign(self, object_id: str):
            if SECRET not in self.headers.get("Authorization", ""):
                return self._json(401, {"error": "no token"})
            if commons.next_fault(object_id, "forbidden"):
                return self._json(403, {"error": f"no access with {self.headers['Authorization']}"})
            if object_id not in commons.objects:
                return self._json(404, {"error": "unknown"})
            return self._json(200, {"url": f"{commons.address}/store/{object_id}?signature={SECRET}"})

        def _store(self, object_id: str):  # noqa: PLR0911 - a road a return
            content = commons.objects[object_id]
            faults = ("expired", "short", "long", "altered", "broken", "labelled", "packed")
            fault = commons.next_fault(object_id, *faults)
            if fault in ("labelled", "packed"):
                body = content if fault == "labelled" else gzip.compress(content)
                return self._send(200, body, encoding="gzip")
            if fault == "expired":
                return self._send(403, f"<Error>Request has expired {self.path}</Error>".encode())
            if fault == "broken":
                return self._send(500, b"")
            if fault == "short":
                return self._send(200, content[:-3], len(content))
            if fault == "long":
                return self._send(200, content + bytes(5 << 20))
            if fault == "altered":
                return self._send(200, content[:-1] + b"?")
            return self._send(200, content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    commons.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
