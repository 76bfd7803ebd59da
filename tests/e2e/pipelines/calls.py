"""Pipelines whose jobs ask Buildkite for something: artifacts, annotations, steps, secrets."""

import hashlib

from tests.e2e.pipelines.model import Annotation, Expected, Pipeline

SECRET = "a-secret-of-the-cluster"
AUDIENCE = "https://vault.example.com"
_BINARY = b"\x00\x01\xff\r\nbinary\n"

ARTIFACTS = Pipeline(
    name="artifacts",
    text=r"""
steps:
  - key: build
    command: |
      mkdir -p dist/docs
      printf '\000\001\377\r\nbinary\n' > dist/app.bin
      echo guide > "dist/docs/the guide.txt"
      echo scratch > dist/scratch.tmp
    artifact_paths: ["dist/*.bin", "dist/**/*.txt"]  # uploads: `*` stops at a `/`
  - wait
  - key: test
    command: |
      buildkite-agent artifact download "dist/*" . --step build
      find dist -type f | sort
      echo "sha1 $(buildkite-agent artifact shasum dist/app.bin)"
      echo "sha256 $(buildkite-agent artifact shasum --sha256 dist/app.bin)"
      buildkite-agent artifact search "dist/**/*.txt" --format "found %p, %s bytes\n"
      buildkite-agent artifact search "dist/**/*" --format "nested: %p\n"
      buildkite-agent artifact search "nothing*" --allow-empty-results
      buildkite-agent artifact download "nothing*" . || echo "there is nothing"
      cp dist/app.bin tested.bin
      buildkite-agent artifact upload tested.bin
""",
    expected=(
        Expected(
            key="build",
            artifacts={"dist/app.bin": _BINARY, "dist/docs/the guide.txt": b"guide\n"},
        ),
        Expected(
            key="test",
            lines=(
                "dist/app.bin",
                "dist/docs/the guide.txt",
                f"sha1 {hashlib.sha1(_BINARY).hexdigest()}",  # noqa: S324 - as Buildkite has it
                f"sha256 {hashlib.sha256(_BINARY).hexdigest()}",
                "found dist/docs/the guide.txt, 6 bytes",
                "nested: dist/docs/the guide.txt",
                "there is nothing",
            ),
            # A search's `**/` wants a directory: buildkite/agent, issue 1087.
            never=("dist/scratch.tmp", "nested: dist/app.bin"),
            artifacts={"tested.bin": _BINARY},
        ),
    ),
)

ANNOTATIONS = Pipeline(
    name="annotations",
    text="""
steps:
  - key: report
    command: |
      printf '## Coverage\\n\\n* a.c: **97**\\n' > coverage.md
      buildkite-agent annotate --style info --context coverage < coverage.md
      buildkite-agent annotate "first" --context log --style warning
      buildkite-agent annotate " second." --context log --append
      buildkite-agent annotate "soon gone" --context gone --priority 9
      buildkite-agent annotation remove --context gone
      buildkite-agent annotation remove --context never-there || echo "there is no such annotation"
""",
    expected=(
        Expected(
            key="report",
            lines=("there is no such annotation",),
            annotations={
                "coverage": Annotation(
                    body="## Coverage\n\n* a.c: **97**\n", text="Coverage a.c: 97"
                ),
                "log": Annotation(body="first second.", text="first second."),
            },
        ),
    ),
)

DYNAMIC = Pipeline(
    name="dynamic pipelines",
    text="""
steps:
  - key: ask
    command: |
      buildkite-agent meta-data set release v7
      buildkite-agent meta-data set notes <<< "two lines,
      and $$HOME"
  - wait
  - {key: generate, command: ".buildkite/generate.sh | buildkite-agent pipeline upload"}
  - wait
  - key: last
    command: |
      echo "last of $(buildkite-agent meta-data get release)"
      buildkite-agent meta-data exists nothing || echo "nothing is not there: $$?"
      buildkite-agent meta-data get nothing --default "the default"
      echo
      buildkite-agent meta-data keys | grep -v buildkite: | paste -sd,
""",
    files={
        "services/api/main.c": "", "services/web/main.c": "",
        ".buildkite/generate.sh": (
            "#!/bin/bash\nset -euo pipefail\n"
            "release=$(buildkite-agent meta-data get release)\n"
            "echo 'steps:'\nfor service in services/*; do\n"
            '  name=$(basename "$service")\n'
            '  echo "  - key: test-$name"\n'
            "  echo \"    label: ':test_tube: $name'\"\n"
            "  echo \"    command: 'echo testing $name of $release in \\$\\$PWD | "
            "sed s,/.*/,,'\"\n"
            '  echo "    env: {SERVICE: $name}"\n'
            "done\n"
        ),
    },
    expected=(
        Expected(key="ask", meta_data={"release": "v7"}),
        Expected(
            key="generate",
            uploads=(
                (
                    {"key": "test-api", "label": ":test_tube: api", "env": {"SERVICE": "api"}},
                    {"key": "test-web", "label": ":test_tube: web", "env": {"SERVICE": "web"}},
                ),
            ),
        ),
        Expected(
            key="test-api",
            lines=("testing api of v7 in dynamic-pipelines",),
            uploaded_by="generate",
        ),
        Expected(
            key="test-web",
            lines=("testing web of v7 in dynamic-pipelines",),
            uploaded_by="generate",
        ),
        Expected(
            key="last",
            lines=("last of v7", "nothing is not there: 100", "the default"),
        ),
    ),
)  # fmt: skip

SECRETS = Pipeline(
    name="secrets and OIDC",
    text=f"""
steps:
  - key: deploy
    secrets: {{DEPLOY_KEY: STORE_KEY}}
    command: |
      echo "the key has $${{#DEPLOY_KEY}} characters: $$DEPLOY_KEY"
      test "$(buildkite-agent secret get STORE_KEY)" = "$$DEPLOY_KEY" && echo the same
      buildkite-agent secret get OTHER_KEY || echo "no other key"
      buildkite-agent oidc request-token --audience {AUDIENCE} --lifetime 60 > token
      cut -d . -f 2 token | tr '_-' '/+' | base64 -d 2>/dev/null | jq -r '"for " + .aud'
""",
    expected=(
        Expected(
            key="deploy",
            lines=(
                f"the key has {len(SECRET)} characters: [REDACTED]", "the same", "no other key",
                f"for {AUDIENCE}",
            ),
        ),
    ),
)  # fmt: skip

TOOLBOX = Pipeline(
    name="the job's own environment",
    text="""
steps:
  - key: tools
    command: |
      buildkite-agent env set COLOUR=blue SHAPE=round
      buildkite-agent env get COLOUR
      buildkite-agent env unset SHAPE
      dumped=$(buildkite-agent env dump | jq -r .BUILDKITE_JOB_ID)
      test "$$dumped" = "$$BUILDKITE_JOB_ID" && echo "the same job"
      printf 'hidden-value' | buildkite-agent redactor add
      sleep 0.2
      echo "this is hidden-value"
      buildkite-agent step update label "Shipped"
      buildkite-agent step update label " twice" --append
      echo "label: $(buildkite-agent step get label)"
      buildkite-agent job update timeout 20 || echo "not updated"
      echo "working directory: $(basename "$(buildkite-agent workdir set src)")"
      for verb in "acquire key" "release key token" "get key" "do key" "done key"; do
        buildkite-agent lock $$verb || echo "no lock: $$?"
      done
      buildkite-agent pipeline upload --dry-run --format yaml dry.yml
      buildkite-agent tool keygen --alg EdDSA --key-id k && ls -1 EdDSA-k-*.json
""",
    files={
        "src/main.c": "",
        "dry.yml": "steps: [{command: 'echo $$TWICE on ${BUILDKITE_BRANCH}'}]\n",
        ".buildkite/hooks/post-command": (
            '#!/bin/bash\necho "colour ${COLOUR:-none}, shape ${SHAPE:-none}"\n'
        ),
    },
    expected=(
        Expected(
            key="tools",
            lines=("blue", "the same job", "this is [REDACTED]", "label: Shipped twice",
                   "working directory: src", "no lock: 1", "no lock: 1", "no lock: 1",
                   "no lock: 1", "no lock: 1", "    - command: echo $TWICE on main",
                   "EdDSA-k-private.json",
                   "colour blue, shape none"),
            never=("not updated",),
        ),
    ),
)  # fmt: skip

REPLACE = Pipeline(
    name="replaced steps",
    text="""
steps:
  - key: decide
    command: |
      echo 'steps: [{key: instead, command: "echo instead of $$$$BUILDKITE_STEP_KEY"}]' > new.yml
      buildkite-agent pipeline upload --replace new.yml
  - wait
  - {key: dropped, command: echo dropped}
""",
    expected=(
        Expected(key="decide", uploads=(({"key": "instead"},),)),
        Expected(key="instead", lines=("instead of instead",), uploaded_by="decide"),
    ),
    without_jobs=("dropped",),
)

PIPELINES = (ARTIFACTS, ANNOTATIONS, DYNAMIC, REPLACE, SECRETS, TOOLBOX)
