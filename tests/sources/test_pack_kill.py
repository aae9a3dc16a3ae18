"""Whatever kills a pack: the old pack or none is there, and the same command ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rotogbml.errors import UsageError
from rotogbml.sources import examine
from rotogbml.sources.pack import pack
from rotogbml.sources.packed import open_pack

CHUNK = 4
SIZE = 20

SCRIPT = f"""
import os, signal, sys
from rotogbml.sources import assemble, examine, job, journal, pack, writer
from rotogbml.sources.journal import Journal
examine.CHUNK = {CHUNK}
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def at(count, function, instead=die):
    calls = []
    def counted(*args, **kwargs):
        calls.append(1)
        return instead(*args, **kwargs) if len(calls) == count else function(*args, **kwargs)
    return counted
def torn(self, line):
    with (self.folder / "journal.jsonl").open("a") as file:
        file.write('{{"chunk": 1, "rec')
    die()
{{patch}}
pack.pack(sys.argv[1], sys.argv[2], size={SIZE}, workers=1)
"""

MOMENTS = {
    "first chunk": "Journal.add = at(1, Journal.add)",
    "inside a source": "Journal.add = at(3, Journal.add)",
    "inside the second source": "Journal.add = at(6, Journal.add)",
    "while pixels are written": "examine._write_all = at(7, examine._write_all)",
    "a torn line of the journal": "Journal._append = at(4, Journal._append, torn)",
    "before a source is written": "job.write_selection = at(1, job.write_selection)",
    "while a source is written": "writer.sync = at(1, writer.sync)",
    "before a source is renamed": "writer.replace_folder = at(2, writer.replace_folder)",
    "after a source is renamed": "Journal.drop_pixels = at(1, Journal.drop_pixels)",
    "before the list of skips": "pack._publish = die",
    "while the journals are removed": "pack.remove = die",
    "before the last rename": "pack.replace_folder = die",
    "between the last two renames": "pack.replace_folder = lambda _, to: [to.rename(to.with_name('.out.old')), die()]",
    "before the old pack is removed": "writer.remove = at(6, writer.remove)",
}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def start(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def root(tmp_path, some_files, write_as, monkeypatch) -> Path:
    monkeypatch.setattr(examine, "CHUNK", CHUNK)
    place = write_as(tmp_path / "root", some_files(["a/x", "a/y", "b/z"], 9))
    (place / "a/x/bad.png").write_bytes(b"no image")
    (place / "b/z/copy.png").write_bytes((place / "b/z/000.png").read_bytes())
    return place


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill(root, tmp_path, moment):
    pack(root, tmp_path / "reference", size=SIZE, workers=1)
    reference = snapshot(tmp_path / "reference")
    out = tmp_path / "out"
    pack(root, out, size=16, workers=1)
    old = snapshot(out)
    killed = start(SCRIPT.replace("{patch}", MOMENTS[moment]), root, out)
    assert killed.wait(timeout=60) == -signal.SIGKILL
    assert not out.exists() or snapshot(out) in (old, reference)
    report = pack(root, out, size=SIZE, workers=1)
    assert snapshot(out) == reference
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out", "reference", "root"]
    if moment in ("inside a source", "inside the second source", "a torn line of the journal"):
        assert 0 < report.resumed < 29


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_with_workers(root, tmp_path, how):
    pack(root, tmp_path / "reference", size=SIZE, workers=1)
    code = SCRIPT.replace("{patch}", "").replace("workers=1", "workers=2")
    journal = tmp_path / ".out.partial" / ".work" / "a" / "journal.jsonl"
    process = start(code, root, tmp_path / "out")
    while process.poll() is None:
        if journal.exists() and len(journal.read_bytes().splitlines()) >= 2:
            workers = _children(process.pid)
            process.send_signal(how)
            process.wait(timeout=30)
            _wait_until_gone(workers)
    assert process.returncode in (-how, 0)
    pack(root, tmp_path / "out", size=SIZE, workers=2)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "reference")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _wait_until_gone(pids: list[int]) -> None:
    for _ in range(200):
        alive = [pid for pid in pids if _state(pid) not in ("", "Z")]
        if not alive:
            return
        time.sleep(0.05)
    pytest.fail(f"workers {alive} outlived their parent")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class TestAnotherPlan:
    @pytest.fixture
    def interrupted(self, root, tmp_path) -> Path:
        killed = start(SCRIPT.replace("{patch}", MOMENTS["inside the second source"]), root, tmp_path / "out")
        assert killed.wait(timeout=60) == -signal.SIGKILL
        return root

    def test_the_same_goes_on(self, interrupted, tmp_path):
        assert pack(interrupted, tmp_path / "out", size=SIZE, workers=1).resumed == 19

    @pytest.mark.parametrize("change", [{"size": 22}, {"margin": 0.0}, {"seed": 1}, {"n_way": 2}])
    def test_a_changed_option_starts_again(self, interrupted, tmp_path, change):
        options = {"size": SIZE, "workers": 1} | change
        report = pack(interrupted, tmp_path / "out", **options)
        assert report.resumed == 0
        pack(interrupted, tmp_path / "reference", **options)
        assert snapshot(tmp_path / "out") == snapshot(tmp_path / "reference")

    def test_a_changed_source_starts_again_and_the_other_goes_on(self, interrupted, tmp_path, draw):
        (interrupted / "b/z/001.png").write_bytes(draw(99))
        report = pack(interrupted, tmp_path / "out", size=SIZE, workers=1)
        assert report.resumed == 19
        pack(interrupted, tmp_path / "reference", size=SIZE, workers=1)
        assert snapshot(tmp_path / "out") == snapshot(tmp_path / "reference")

    def test_a_source_that_is_gone_leaves_nothing(self, interrupted, tmp_path):
        for file in (interrupted / "a").rglob("*.png"):
            file.unlink()
        pack(interrupted, tmp_path / "out", size=SIZE, workers=1)
        assert list(open_pack(tmp_path / "out")) == ["b"]

    def test_pixels_lost_in_a_power_cut_are_decoded_again(self, interrupted, tmp_path):
        slots = tmp_path / ".out.partial" / ".work" / "b" / "slots.bin"
        data = bytearray(slots.read_bytes())
        slots.write_bytes(bytes(len(data)))
        pack(interrupted, tmp_path / "out", size=SIZE, workers=1)
        pack(interrupted, tmp_path / "reference", size=SIZE, workers=1)
        assert snapshot(tmp_path / "out") == snapshot(tmp_path / "reference")


def test_a_file_size_limit_ends_in_one_line(root, tmp_path):
    code = """
import resource, sys
from rotogbml.errors import RotogbmlError
from rotogbml.sources.verbs import pack
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    pack(sys.argv[1], sys.argv[2], size=84, workers=2)
except RotogbmlError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, root, tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "disk full while packing into" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_plain_script_needs_no_main_guard(root, tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import sys\nfrom rotogbml.sources.verbs import pack, scan\nprint('once')\n"
        "pack(sys.argv[1], sys.argv[2], size=16, workers=2)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, script, root, tmp_path / "out"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines().count("once") == 1
    assert list(open_pack(tmp_path / "out")) == ["a", "b"]


def test_the_lock_goes_with_its_process(root, tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom rotogbml.lock import locked\n"
        "with locked(Path(sys.argv[1]), 'here'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    (tmp_path / ".out.partial").mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".out.partial")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="another process"):
        pack(root, tmp_path / "out", size=16, workers=1)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    pack(root, tmp_path / "out", size=16, workers=1)
