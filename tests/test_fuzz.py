"""A short run of the fuzzers; `make fuzz` runs them for as long as you like."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.checkout import PROJECT

FUZZ = PROJECT / "tests" / "fuzz"
SECONDS = 10


def test_the_fuzzer_finds_nothing_in_captures(tmp_path: Path) -> None:
    """Ten seconds of coverage-guided fuzzing from the corpus end without a crash."""
    corpus = tmp_path / "corpus"
    shutil.copytree(FUZZ / "corpus" / "capture", corpus)
    command = [sys.executable, str(FUZZ / "fuzz_capture.py"), str(corpus)]
    command += [f"-max_total_time={SECONDS}", "-rss_limit_mb=1024"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "audit")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr


def test_the_corpus_is_what_its_script_makes() -> None:
    """Nothing in it came from anywhere else; run tests/fuzz/make_corpus.py to renew it."""
    namespace: dict[str, object] = {"__name__": "corpus", "__file__": str(FUZZ / "make_corpus.py")}
    exec((FUZZ / "make_corpus.py").read_text(), namespace)
    made = namespace["corpus"]
    assert callable(made)
    stored = {path.name: path.read_bytes() for path in (FUZZ / "corpus" / "capture").iterdir()}
    assert stored == made()
