"""What a job's repository has to have for image builds, as a shell script that makes it.

There is no registry outside: the job runs one on its own loopback, which its builder shares, and
the base image is made of the job's own programs.
"""

REGISTRY = r"""
import http.server, hashlib, itertools, re, sys, base64
blobs, manifests, uploads, numbers = {}, {}, {}, itertools.count()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def allowed(self):
        wanted = "Basic " + base64.b64encode(sys.argv[1].encode()).decode()
        if not sys.argv[1] or self.headers.get("Authorization") == wanted:
            return True
        self.answer(401, WWW_Authenticate='Basic realm="registry"')

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def do_GET(self):
        if not self.allowed():
            return
        if self.path == "/v2/":
            return self.answer(200)
        if found := re.search("/blobs/(sha256:[0-9a-f]+)$", self.path):
            content = blobs.get(found[1])
            return self.answer(404) if content is None else self.answer(200, content)
        name = self.path.rpartition("/")[2]
        if name not in manifests:
            return self.answer(404)
        kind, content = manifests[name]
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.answer(200, content, Content_Type=kind, Docker_Content_Digest=digest)

    do_HEAD = do_GET

    def do_POST(self):
        self.body()
        if self.allowed():
            self.answer(202, Location=f"/v2/upload/blobs/uploads/{next(numbers)}")

    def do_PATCH(self):
        uploads[self.path] = uploads.get(self.path, b"") + self.body()
        if self.allowed():
            last = len(uploads[self.path]) - 1
            self.answer(202, Location=self.path, Range=f"0-{last}")

    def do_PUT(self):
        content = uploads.pop(self.path.partition("?")[0], b"") + self.body()
        if not self.allowed():
            return
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if "/manifests/" in self.path:
            for name in (self.path.rpartition("/")[2], digest):
                manifests[name] = (self.headers["Content-Type"], content)
        else:
            blobs[digest] = content
        self.answer(201, Docker_Content_Digest=digest)

http.server.ThreadingHTTPServer(("127.0.0.1", 5000), Handler).serve_forever()
"""

DOCKERFILE = r"""
FROM scratch AS base
ADD rootfs.tar /
FROM base AS one
ARG AGAIN
RUN --mount=type=cache,target=/c echo $AGAIN >> /c/f; echo "cache has $(wc -l < /c/f) lines"
RUN --mount=type=secret,id=s echo "secret has $(wc -c < /run/secrets/s) bytes"; \
    tr a-z A-Z < /run/secrets/s > /shout
FROM base
COPY --from=one /shout /shout
RUN echo "last stage as $(id -u), $(cat /shout)"
"""

COMPOSE = """
services:
  web: {image: "127.0.0.1:5000/web:1", build: {context: ., secrets: [s]}}
secrets: {s: {file: ./secret}}
"""

# The programs of the job's image that steps use, and their libraries.
PREPARE = f"""
set -eu
rm -rf app; mkdir -p app/rootfs/bin; cd app
for p in sh cat wc tr id sleep ls mkdir grep mount unshare head; do
  p=$(command -v $p); cp -L $p rootfs/bin/
  for l in $(ldd $p | grep -o '/[^ ]*'); do mkdir -p rootfs$(dirname $l); cp -L $l rootfs$l; done
done
tar -C rootfs -cf rootfs.tar .
rm -rf rootfs
echo hush > secret
cat > registry.py <<'END'
{REGISTRY}
END
cat > Dockerfile <<'END'
{DOCKERFILE}
END
cat > compose.yaml <<'END'
{COMPOSE}
END
"""
WITH_REGISTRY = """
python3 registry.py "" 2>/dev/null &
trap "kill $!" EXIT
until curl -s -o /dev/null 127.0.0.1:5000/v2/; do sleep 0.1; done
"""
