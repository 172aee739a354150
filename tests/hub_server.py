"""A small server with the parts of Hugging Face's hub that uploads and downloads use: ``python hub_server.py FOLDER``.

It listens on 127.0.0.1 and prints its address. A repository is a folder below FOLDER, with a folder per commit and a
file ``refs.json``. A token other than ``hf_write`` may only read. Every request is a line of ``requests.txt``.
"""

import base64
import hashlib
import json
import re
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

WRITE_TOKEN = "hf_write"


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root = Path()

    def log_message(self, format, *args):
        with (self.root / "requests.txt").open("a") as file:
            file.write(format % args + "\n")

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self, content, status=200, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def fail(self, status, code):
        self.answer({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def may_write(self):
        return self.headers.get("Authorization") == f"Bearer {WRITE_TOKEN}"

    def refs(self, repo):
        path = self.root / repo / "refs.json"
        return json.loads(path.read_text()) if path.exists() else None

    def commit_of(self, repo, revision):
        """Return the folder of a revision; answer with an error if there is none."""
        refs = self.refs(repo)
        if refs is None:
            self.fail(404, "RepoNotFound")
            return None
        commit = refs.get(revision, revision)
        if not (self.root / repo / commit).is_dir():
            self.fail(404, "RevisionNotFound")
            return None
        return self.root / repo / commit

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            if folder := self.commit_of(match[1], match[2] or "main"):
                files = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
                self.answer({"id": match[1], "sha": folder.name, "siblings": files, "private": False, "tags": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/(.+)", path):
            if folder := self.commit_of(match[1], match[2]):
                self.answer([describe(file) for file in sorted(folder.iterdir())])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if folder := self.commit_of(match[1], match[2]):
                file = folder / match[3]
                if not file.is_file():
                    self.fail(404, "EntryNotFound")
                    return
                entry = describe(file)
                etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
                self.answer(file.read_bytes(), ETag=f'"{etag}"', X_Repo_Commit=folder.name)
        else:
            self.fail(404, "EntryNotFound")

    def do_PUT(self):
        (self.root / "objects").mkdir(exist_ok=True)
        content = self.body()
        (self.root / "objects" / hashlib.sha256(content).hexdigest()).write_bytes(content)
        self.answer({})

    def do_POST(self):
        path, body = unquote(urlsplit(self.path).path), self.body()
        if path == "/api/validate-yaml":
            head = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.S)
            warnings = [] if head and yaml.safe_load(head[1]) else [{"message": "empty or missing yaml metadata"}]
            self.answer({"errors": [], "warnings": warnings})
        elif not self.may_write():
            self.fail(403, "Forbidden")
        elif path == "/api/repos/create":
            fields = json.loads(body)
            repo = f"{fields['organization'] or 'you'}/{fields['name']}"
            exists = self.refs(repo) is not None
            if not exists:
                self.write_commit(repo, "main", None, json.dumps(fields))
            self.answer({"url": f"{self.address}/{repo}", "name": repo}, 409 if exists else 200)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
            refs = self.refs(match[1])
            exists = match[2] in refs
            self.write_refs(match[1], {match[2]: refs["main"], **refs})
            self.answer({}, 409 if exists else 200)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path):
            if self.commit_of(match[1], match[2]):
                names = [file["path"] for file in json.loads(body)["files"]]
                self.answer({"files": [{"path": n, "uploadMode": mode(n), "shouldIgnore": False} for n in names]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for entry in objects:
                entry["actions"] = {"upload": {"href": f"{self.address}/objects/{entry['oid']}"}}
            self.answer({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            lines = [json.loads(line) for line in body.splitlines()]
            commit = self.write_commit(match[1], match[2], lines, body.decode())
            self.answer({"commitUrl": f"{self.address}/{match[1]}/commit/{commit}", "commitOid": commit})
        else:
            self.fail(404, "EntryNotFound")

    def write_refs(self, repo, refs):
        (self.root / repo / "refs.json").write_text(json.dumps(refs))

    def write_commit(self, repo, revision, lines, seed):
        """Write the files of a commit, and return its id."""
        refs = self.refs(repo) or {}
        commit = hashlib.sha1((repo + refs.get(revision, "") + seed).encode()).hexdigest()
        folder = self.root / repo / commit
        if revision in refs:
            shutil.copytree(self.root / repo / refs[revision], folder)
        folder.mkdir(parents=True, exist_ok=True)
        for line in lines or ():
            value = line["value"]
            if line["key"] == "file":
                (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                shutil.copyfile(self.root / "objects" / value["oid"], folder / value["path"])
            elif line["key"] == "deletedFile":
                (folder / value["path"]).unlink()
        self.write_refs(repo, {**refs, revision: commit})
        return commit


def mode(name):
    return "lfs" if Path(name).suffix in (".safetensors", ".onnx", ".pt2") else "regular"


def describe(file):
    """Return the hub's description of a file."""
    content = file.read_bytes()
    oid = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry = {"type": "file", "path": file.name, "size": len(content), "oid": oid}
    if mode(file.name) == "lfs":
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


if __name__ == "__main__":
    Hub.root = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
