"""The runner as the module uses it: the real worker process, killed, cancelled and misbehaving ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from geometry import ROOT, hot_sphere
from PETSuperResSlicer.worker import client as module
from PETSuperResSlicer.worker.process import find_python
from tiny import tiny_network

from PETSuperResLib.errors import WorkerError
from PETSuperResLib.prior import Prior
from PETSuperResLib.volume import Volume
from PETSuperResLib.worker.protocol import FINAL
from PETSuperResLib.worker.raw_arrays import read_raw, write_raw

SCANNER = {"name": "Small", "fwhm_transaxial_mm": 7.0, "fwhm_axial_mm": 6.0, "views": 24, "bin_size_mm": 4.0}
posix = pytest.mark.skipif(os.name != "posix", reason="looks at process groups and signals")


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> dict[str, object]:
    """A hot sphere in a round body and a small random prior: a job of a second."""
    pet, ct = hot_sphere()
    prior = Prior(tiny_network(), info={"pixel_mm": 4.0}).save(tmp_path_factory.mktemp("prior") / "p.safetensors")
    fixed = {"scanner": SCANNER, "quality": "draft", "device": "cpu"}
    return {"pet": pet, "ct": ct, "prior": str(prior), **fixed}


@pytest.fixture(scope="module")
def client():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        made = module.WorkerClient()
        yield made
        made.close()


@pytest.fixture
def runner(client, tmp_path):
    """A client with its private folders in ``tmp_path``; its worker, where it is the real one, serves several tests."""
    client.folder = str(tmp_path)
    yield client
    if client.running or client.command is not None:
        client.close()
        client.command = None
    assert files(tmp_path) == set()


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def events() -> None:
    """Let Qt deliver what has come."""
    sys.modules["qt"].QApplication.processEvents()


def wait(runner, seen: list[dict], *kinds: str, limit: float = 120.0) -> dict:
    """Run the event loop until a message of one of ``kinds`` has come; the first such message."""
    first, ends = len(seen), time.monotonic() + limit
    while time.monotonic() < ends:
        events()
        for message in seen[first:]:
            if message["type"] in kinds:
                return message
        time.sleep(0.01)
    pytest.fail(f"none of {kinds} came, but {[m['type'] for m in seen]}: {runner.process and runner.process.log}")


def run(runner, job: dict) -> list[dict]:
    seen: list[dict] = []
    runner.start(job, seen.append)
    wait(runner, seen, *FINAL)
    return seen


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def children(parent: int = os.getpid()) -> set[str]:
    """Processes that this one (or another) has started and that still run."""
    command = ["ps", "-o", "pid=,stat=,comm=", "--ppid", str(parent)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[0] for line in lines if line.split()[2] != "ps" and line.split()[1][0] != "Z"}


def test_a_volume_passes_between_processes_with_its_place_unit_and_name(awkward, tmp_path):
    named = Volume(awkward.array, awkward.spacing, awkward.origin, awkward.direction, "SUVbw", {"file": "PET Müller"})
    path = write_raw(named, tmp_path / "v.nrrd")
    back = read_raw(path)
    np.testing.assert_array_equal(back.array, named.array)
    assert back.same_grid(named, 1e-6) and back.unit == "SUVbw" and back.metadata["file"] == "PET Müller"
    other = Volume.read(path)  # any reader of NRRD sees the same
    np.testing.assert_array_equal(other.array, named.array)
    assert other.same_grid(named, 1e-4)
    assert files(tmp_path) == {"v.nrrd"}


def test_a_cut_off_raw_file_is_refused(awkward, tmp_path):
    path = write_raw(awkward, tmp_path / "v.nrrd")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(Exception, match="damaged or incomplete"):
        read_raw(path)


def test_a_job_gives_progress_and_the_volume_and_leaves_nothing(runner, case, tmp_path):
    seen: list[dict] = []
    runner.start({**case, "samples": 2}, seen.append)
    kinds_of_folder = [p.stat().st_mode & 0o777 for p in tmp_path.iterdir()]
    assert runner.running and seen == []  # nothing comes but by poll()
    result = wait(runner, seen, *FINAL)
    assert result["type"] == "result", result
    assert kinds_of_folder == [0o700] or os.name != "posix"
    fractions = [m["fraction"] for m in seen if m["type"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) > 4
    volume, spread = result["volumes"]["sr"], result["volumes"]["std"]
    assert volume.unit == "SUVbw" and volume.array.max() > 1 and spread.same_grid(volume)
    np.testing.assert_allclose(volume.corners(), case["pet"].corners(), atol=1e-3)
    assert result["report"]["scanner"]["name"] == "Small"
    assert str(tmp_path) not in str(result["report"])  # copies that nobody can find again
    assert not runner.running and files(tmp_path) == set()


def test_a_ping_tells_devices_and_does_not_disturb_a_job(runner, case):
    facts: list[dict] = []
    seen: list[dict] = []
    runner.ping(facts.append)
    runner.start(case, seen.append)
    assert wait(runner, seen, *FINAL)["type"] == "result"
    pong = facts[0] if facts else wait(runner, facts, "pong", "error")
    assert pong["type"] == "pong" and "cpu" in pong["devices"]


@pytest.mark.timing
def test_the_second_run_starts_in_under_a_second(runner, case):
    assert run(runner, case)[-1]["type"] == "result"
    seen: list[dict] = []
    began = time.monotonic()
    runner.start({**case, "seed": 1}, seen.append)
    while not any("step" in m.get("message", "") for m in seen):
        events()
        time.sleep(0.005)
    assert time.monotonic() - began < 1.0
    wait(runner, seen, *FINAL)


def test_previews_bring_the_estimate_on_the_results_grid(runner, case):
    seen: list[dict] = []
    runner.start({**case, "quality": "paper", "samples": 20, "preview": True}, seen.append)
    preview = wait(runner, seen, "preview", *FINAL)
    assert preview["type"] == "preview"
    assert preview["volume"].unit == "SUVbw" and preview["volume"].array.max() > 0
    runner.cancel()
    assert wait(runner, seen, *FINAL)["type"] == "cancelled"
    np.testing.assert_allclose(preview["volume"].corners(), case["pet"].corners(), atol=1e-3)


@posix
def test_five_runs_leave_neither_files_nor_processes(runner, case, tmp_path):
    before = children() - {str(runner.process.pid) if runner.process else ""}
    pids, descriptors = set(), []
    for seed in range(5):
        pet = case["pet"].with_array(case["pet"].array * (1 + 0.1 * seed))
        assert run(runner, {**case, "pet": pet, "seed": seed})[-1]["type"] == "result"
        pids.add(runner.process.pid)
        assert files(tmp_path) == set()
        descriptors.append(len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0)
    assert len(pids) == 1 and max(descriptors[1:]) == descriptors[1]
    assert children() == before | {str(runner.process.pid)}


@posix
def test_close_ends_the_worker_and_no_event_comes_afterwards(runner, case, tmp_path):
    before = children() - {str(runner.process.pid) if runner.process else ""}
    seen: list[dict] = []
    runner.start({**case, "quality": "paper", "samples": 50}, seen.append)
    while not any("step" in m["message"] for m in seen):
        events()
        time.sleep(0.01)
    pid, count = runner.process.pid, len(seen)
    runner.close()
    assert not runner.running and not alive(pid) and files(tmp_path) == set() and children() == before
    events()
    assert len(seen) == count


ENDLESS = """
import time
from PETSuperResLib.progress import Event
from PETSuperResLib.worker import jobs, serve

def run(job, tools):
    while True:
        tools.progress(Event("slices", 0.5, "step 1"))
        time.sleep(0.01)

jobs.ReconstructJob.run = run
serve.main()
"""


@posix
def test_the_worker_ends_with_its_client_and_removes_the_folder(case, tmp_path):
    """A client that is killed can do nothing itself: the end of its messages must be enough."""
    paths = {name: str(case[name].write(tmp_path / f"{name}.nrrd")) for name in ("pet", "ct")}
    (tmp_path / "private").mkdir()
    client = f"""
import json, sys, time
sys.path[:0] = [{str(ROOT / "PETSuperRes")!r}, {str(ROOT)!r}, {str(ROOT / "Testing" / "support")!r}]
from slicer_host import pythonqt
qt = sys.modules["qt"] = pythonqt.make_module()
application = qt.QCoreApplication([])
from PETSuperResSlicer.worker.client import WorkerClient
from PETSuperResLib.volume import Volume
job = json.loads(sys.argv[1])
command = [sys.executable, "-c", {ENDLESS!r}, "--with-client"]
runner, seen = WorkerClient({str(tmp_path / "private")!r}, command), []
for name in ("pet", "ct"):
    job[name] = Volume.read(job[name], unit="SUVbw" if name == "pet" else "HU")
runner.start(job, seen.append)
while not any("step" in m["message"] for m in seen):
    application.processEvents()
    time.sleep(0.01)
print(runner.process.pid, flush=True)
time.sleep(60)
"""
    job = json.dumps({**case, **paths})
    process = subprocess.Popen([sys.executable, "-c", client, job], stdout=subprocess.PIPE, text=True)
    worker = int(process.stdout.readline())
    assert alive(worker) and len(files(tmp_path / "private")) == 1
    process.kill()
    process.wait()
    process.stdout.close()
    ends = time.monotonic() + 15
    while (alive(worker) or files(tmp_path / "private")) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not alive(worker) and files(tmp_path / "private") == set()


def fake(runner, tmp_path_factory, code: str) -> None:
    """Let the runner start a worker of the test's own."""
    runner.close()
    script = tmp_path_factory.mktemp("fake") / "worker.py"
    script.write_text("import json, os, subprocess, sys, time\n" + code, encoding="utf-8")
    runner.command = [sys.executable, "-u", str(script)]


ANSWER = """
os.setsid()
print(json.dumps({"version": 1, "id": None, "type": "ready", "pid": os.getpid()}))
line = json.loads(sys.stdin.readline())
def say(kind, **content):
    print(json.dumps({"version": 1, "id": line["id"], "type": kind, **content}))
"""
GOOD = ANSWER + "say('result', files={'sr': line['pet']}, report={})\nsys.stdin.read()"


@posix
@pytest.mark.parametrize(
    ("code", "told"),
    [
        (ANSWER + "say('progress', message='', fraction=0)\nprint('%&?!')\ntime.sleep(60)", "no message"),
        ("print(json.dumps({'version': 2, 'id': None, 'type': 'ready'}))\ntime.sleep(60)", "another version"),
        (
            "sys.stderr.write('No module ')\nsys.stderr.flush()\ntime.sleep(0.3)\nsys.exit('named x')",
            "No module named x",
        ),
        ("print('rubbish')\nprint('[]')", "exit code 0"),
        (ANSWER + "print(json.dumps({'version': 1, 'id': None, 'type': 'error', 'message': 'what'}))", "understand"),
        (ANSWER + "say('result', files={'sr': '/nowhere/sr.nrrd'}, report={})\ntime.sleep(60)", "sr.nrrd"),
    ],
)
def test_a_worker_that_misbehaves_gives_one_error_and_is_gone(runner, case, tmp_path_factory, code, told):
    fake(runner, tmp_path_factory, code)
    before = children()
    seen = run(runner, case)
    assert seen[-1]["type"] == "error" and told in seen[-1]["message"] and "\n" not in seen[-1]["message"]
    assert sum(m["type"] in FINAL for m in seen) == 1
    runner.close()
    assert children() == before
    fake(runner, tmp_path_factory, GOOD)
    assert run(runner, case)[-1]["type"] == "result"


def test_what_a_start_script_prints_does_no_harm(runner, case, tmp_path_factory):
    fake(runner, tmp_path_factory, f"print('Welcome')\n{GOOD}")
    assert run(runner, case)[-1]["type"] == "result"


@pytest.mark.timing
@posix
def test_a_worker_that_ignores_cancel_is_ended_with_its_children(runner, case, tmp_path_factory, tmp_path):
    fake(
        runner,
        tmp_path_factory,
        ANSWER + "child = subprocess.Popen(['sleep', '300'])\n"
        "say('progress', message=str(child.pid), fraction=0)\ntime.sleep(300)",
    )
    seen: list[dict] = []
    runner.start(case, seen.append)
    while not any(m["message"].isdigit() for m in seen):
        events()
        time.sleep(0.01)
    pids = [runner.process.pid, int(seen[-1]["message"])]
    began = time.monotonic()
    runner.cancel()
    assert wait(runner, seen, *FINAL)["type"] == "cancelled" and time.monotonic() - began < 1.0
    time.sleep(0.1)
    assert not any(alive(pid) for pid in pids) and files(tmp_path) == set()


@pytest.mark.timing
@posix
def test_a_frozen_worker_behind_a_launcher_is_killed(runner, case, tmp_path):
    """As in Slicer, whose Python is the child of a launcher."""
    worker = f"'{sys.executable}' -m PETSuperResLib.worker --with-client"
    runner.close()
    runner.command = ["/bin/sh", "-c", f"{worker}; exit $?"]
    seen: list[dict] = []
    runner.start({**case, "quality": "paper", "samples": 50}, seen.append)
    while not any("step" in m["message"] for m in seen):
        events()
        time.sleep(0.01)
    launcher = runner.process.pid
    (child,) = children(launcher)
    os.kill(int(child), signal.SIGSTOP)
    began = time.monotonic()
    runner.cancel()
    assert wait(runner, seen, *FINAL)["type"] == "cancelled" and time.monotonic() - began < 1.0
    time.sleep(0.1)
    assert not alive(int(child)) and not alive(launcher) and files(tmp_path) == set()


def test_a_worker_that_never_speaks_is_given_up(runner, case, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(module, "STARTUP_S", 0.5)
    fake(runner, tmp_path_factory, "time.sleep(300)")
    seen: list[dict] = []
    runner.start(case, seen.append)
    runner.cancel()  # the process is kept
    wait(runner, seen, "cancelled")
    message = run(runner, case)[-1]
    assert message["type"] == "error" and "did not answer" in message["message"]


def test_a_python_that_is_not_there_is_told(runner, case):
    runner.close()
    runner.command = ["/nowhere/PythonSlicer"]
    with pytest.raises(WorkerError, match="/nowhere/PythonSlicer"):
        runner.start(case, print)
    facts: list[dict] = []
    runner.ping(facts.append)
    assert facts[0]["type"] == "error" and not runner.running


def test_slicers_python_is_found_beside_its_launcher(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    (tmp_path / "bin" / name).touch()
    for launcher in ("Slicer", "bin/SlicerApp-real"):
        monkeypatch.setattr(sys, "executable", str(tmp_path / launcher))
        assert find_python() == str(tmp_path / "bin" / name)
    monkeypatch.undo()
    assert find_python() == sys.executable
