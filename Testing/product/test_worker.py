"""The worker as its client sees it: a process that answers JSON lines with JSON lines, job after job."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from geometry import ROOT, hot_sphere

from PETSuperResLib.errors import OutputError
from PETSuperResLib.prior import AsinhTransform, NetworkConfig, NoiseNetwork, Prior
from PETSuperResLib.sampling import Sampler
from PETSuperResLib.volume import Volume
from PETSuperResLib.worker.job import Tools

SCANNER = {"name": "Small", "fwhm_transaxial_mm": 7.0, "fwhm_axial_mm": 6.0, "views": 24, "bin_size_mm": 4.0}


class Client:
    """A worker process; ``answer`` waits for its next message, ``until`` for one of some types."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "PETSuperResLib.worker"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
        self.answers: queue.Queue[dict] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.answers.put(json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} is not JSON")))

    def line(self, text: str) -> None:
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def send(self, kind: str, name: object = None, **content: object) -> None:
        self.line(json.dumps({"version": 1, "id": name, "type": kind, **content}))

    def answer(self) -> dict:
        return self.answers.get(timeout=120)

    def until(self, *kinds: str) -> dict:
        while (message := self.answer())["type"] not in kinds:
            pass
        return message

    def end(self, timeout: float = 60) -> int:
        self.process.stdin.close()
        return self.process.wait(timeout)


@pytest.fixture(scope="module")
def shared():
    """One worker for the tests that leave it running."""
    client = Client()
    yield client
    assert client.end() == 0


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> dict[str, str]:
    """A hot sphere in a round body, and a small random prior, as files."""
    folder = tmp_path_factory.mktemp("worker")
    pet, ct = hot_sphere()
    network = NoiseNetwork(NetworkConfig(widths=(16, 16, 16), heads=2))
    prior = Prior(network, AsinhTransform(), info={"pixel_mm": 4.0}).save(folder / "prior.safetensors")
    files = {"pet": pet.write(folder / "pet.nrrd"), "ct": ct.write(folder / "ct.nii.gz"), "prior": prior}
    return {name: str(path) for name, path in files.items()}


def job(case: dict[str, str], out: Path, **changes: object) -> dict:
    return {**case, "out": str(out), "scanner": SCANNER, "quality": "draft", "device": "cpu", **changes}


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} if folder.exists() else set()


def test_ping_tells_versions_and_devices(shared):
    shared.send("ping", 7)
    answer = shared.answer()
    assert (answer["version"], answer["id"], answer["type"]) == (1, 7, "pong")
    assert "torch" in answer["versions"] and "cpu" in answer["devices"]


def test_a_job_reports_progress_and_leaves_its_files(shared, case, tmp_path):
    shared.send("reconstruct", "a", **job(case, tmp_path / "out"))
    messages = [shared.answer()]
    while messages[-1]["type"] == "progress":
        messages.append(shared.answer())
    result = messages[-1]
    assert result["type"] == "result", result
    assert {m["id"] for m in messages} == {"a"}
    fractions = [m["fraction"] for m in messages[:-1]]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) > 4
    assert names(tmp_path / "out") == {"sr.nii.gz", "report.json"}
    assert Volume.read(result["files"]["sr"]).array.max() > 1
    written = json.loads(Path(result["files"]["report"]).read_text())
    assert result["report"] == {name: value for name, value in written.items() if name != "outputs_sha256"}
    assert result["report"]["scanner"]["name"] == "Small" and result["report"]["seed"] == 0
    begun = next(n for n, m in enumerate(messages) if m["stage"].startswith("slices"))
    told = [warning for m in messages[:begun] for warning in m["warnings"]]
    assert told and set(told) <= set(result["report"]["warnings"])


def test_out_may_be_a_volume_file(shared, case, tmp_path):
    shared.send("reconstruct", "b", **job(case, tmp_path / "result.nrrd", samples=2))
    result = shared.until("result", "error")
    assert result["type"] == "result", result
    assert names(tmp_path) == {"result.nrrd", "result_std.nrrd", "result.json"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pet": "nowhere.nii.gz"}, "nowhere.nii.gz"),
        ({"scanner": {"name": "Odd", "fwhm_transaxial_mm": -1}}, "fwhm_transaxial_mm"),
        ({"scanner": None}, "Which scanner"),
        ({"samples": "many"}, "samples"),
        ({"fwhm": 20}, "A FWHM of 20 mm is that of no clinical PET image"),
        ({"colour": "red"}, "colour"),
        ({"ct": None}, "'ct'"),
        ({"prior": "nowhere.safetensors"}, "nowhere.safetensors"),
    ],
)
def test_a_bad_job_gets_one_sentence_and_writes_nothing(shared, case, tmp_path, change, told):
    shared.send("reconstruct", "c", **job(case, tmp_path / "out", **change))
    answer = shared.until("result", "error")
    assert answer["type"] == "error" and answer["id"] == "c"
    assert told in answer["message"] and "Unexpected" not in answer["message"] and "\n" not in answer["message"]
    assert names(tmp_path / "out") == set()


def test_an_injection_at_an_impossible_time_gets_one_sentence(shared, tmp_path):
    from dicom_factory import pet_slices, write_series

    source = str(write_series(pet_slices(), tmp_path / "pet"))
    shared.send("suv", "c2", source=source, out=str(tmp_path / "out"), injected="12:61:00")
    answer = shared.until("result", "error")
    assert "injection_time='12:61:00' is not a time" in answer["message"] and names(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nonsense", "not JSON"),
        ("[1, 2]", "object"),
        ('{"type": "ping", "id": 1}', "version 1"),
        ('{"version": 1, "id": 1, "type": "dance"}', "dance"),
        ("[" * 100_000, "not JSON"),
        ('{"version": 1, "id": {}, "type": "ping"}', "id"),
    ],
)
def test_a_malformed_line_gets_an_error_and_the_worker_goes_on(shared, line, told):
    shared.line(line)
    answer = shared.answer()
    assert answer["type"] == "error" and told in answer["message"]
    shared.send("ping", 2)
    assert shared.answer()["type"] == "pong"


def test_cancel_stops_the_running_job_and_the_next_one_runs(shared, case, tmp_path):
    shared.send("reconstruct", "long", **job(case, tmp_path / "long", quality="paper", samples=50))
    shared.send("reconstruct", "waiting", **job(case, tmp_path / "waiting"))
    shared.send("reconstruct", "next", **job(case, tmp_path / "next"))
    while "step" not in shared.until("progress")["message"]:
        pass
    shared.send("cancel", "waiting")
    shared.send("cancel", "long")
    began = time.monotonic()
    first, second, third = (shared.until("result", "cancelled", "error") for _ in range(3))
    assert [(m["id"], m["type"]) for m in (first, second, third)] == [
        ("long", "cancelled"),
        ("waiting", "cancelled"),
        ("next", "result"),
    ]
    assert time.monotonic() - began < 30
    assert names(tmp_path) == {"next"}


def test_a_cancel_that_comes_too_late_does_no_harm(shared, case, tmp_path):
    shared.send("cancel", "again")
    shared.send("reconstruct", "again", **job(case, tmp_path / "out"))
    assert shared.until("result", "cancelled", "error")["type"] == "result"


def test_the_end_of_the_input_lets_the_jobs_finish(shared, case, tmp_path):
    """The last test with the shared worker."""
    shared.send("reconstruct", 1, **job(case, tmp_path / "out"))
    assert shared.end() == 0
    assert shared.until("result", "error")["type"] == "result"


def test_quit_ends_the_running_job_too(case, tmp_path):
    from PETSuperResLib.worker.serve import Worker

    answers: list[dict] = []
    stepping = threading.Event()

    def send(line):
        answers.append(json.loads(line))
        if "step" in answers[-1].get("message", ""):
            stepping.set()

    def requests():
        long = job(case, tmp_path / "out", quality="paper", samples=50)
        yield json.dumps({"version": 1, "id": 1, "type": "reconstruct", **long}).encode()
        assert stepping.wait(60)
        yield json.dumps({"version": 1, "id": None, "type": "quit"}).encode()

    worker = Worker(send)
    listener = threading.Thread(target=worker.listen, args=(requests(),))
    listener.start()
    worker.work()  # returns when the job has stopped
    listener.join(10)
    assert answers[-1]["type"] == "cancelled" and not listener.is_alive()
    assert names(tmp_path / "out") == set()


def test_previews_lie_on_the_results_grid_and_are_gone_at_the_end(case, tmp_path, monkeypatch):
    from PETSuperResLib.worker import jobs as module

    monkeypatch.setattr(module, "PREVIEW_SECONDS", 0.0)
    settings = {k: v for k, v in job(case, tmp_path, preview=True, region=[-20, 20, -20, 20, -8, 8]).items()}
    seen: list[Volume] = []
    tools = Tools(Prior.load, lambda event: None, lambda file: seen.append(Volume.read(file)))
    files, _ = module.ReconstructJob.from_message(settings).run(tools)
    assert seen and seen[-1].same_grid(Volume.read(files["sr"]))
    assert names(tmp_path) == {"sr.nii.gz", "report.json"}


def test_what_another_run_wrote_meanwhile_stays(case, tmp_path):
    from PETSuperResLib.worker import jobs as module

    def other(event):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "report.json").write_text("{}")

    settings = {k: v for k, v in job(case, tmp_path / "out").items() if k not in ("version", "id", "type")}
    with pytest.raises(OutputError, match="Another run has written its result"):
        module.ReconstructJob.from_message(settings).run(Tools(Prior.load, other, lambda file: None))
    assert names(tmp_path / "out") == {"report.json"}


def test_prior_and_ct_tokens_are_made_once_for_several_jobs(case, tmp_path, monkeypatch):
    from PETSuperResLib.worker.serve import Worker

    made, encode = [], NoiseNetwork.tokens
    monkeypatch.setattr(NoiseNetwork, "tokens", lambda self, ct: made.append("tokens") or encode(self, ct))

    calls, load = [], Prior.load
    monkeypatch.setattr(Prior, "load", lambda path: calls.append(path) or load(path))
    answers: list[dict] = []
    worker = Worker(lambda line: answers.append(json.loads(line)))
    jobs = [
        {"version": 1, "id": n, "type": "reconstruct", **job(case, tmp_path / str(n), samples=1 + n)} for n in (0, 1)
    ]
    worker.listen(iter([json.dumps(message).encode() for message in jobs]))
    worker.work()
    assert [a["type"] for a in answers if a["type"] != "progress"] == ["result", "result"]
    assert calls == [case["prior"]]
    assert len(made) == Sampler.get("draft").steps  # moved at every step


def test_the_gpus_of_an_apple_are_told_and_taken_only_where_there_are_any():
    import torch

    from PETSuperResLib.device import pick_device
    from PETSuperResLib.errors import InputError
    from PETSuperResLib.worker.serve import facts

    present = torch.backends.mps.is_available()
    assert any(d.startswith("mps") for d in facts()["devices"]) == present
    if not present:
        with pytest.raises(InputError, match="not available"):
            pick_device("mps")


def test_a_missing_package_and_a_full_disk_are_told_in_one_sentence():
    import errno

    from PETSuperResLib.errors import in_words

    assert "'torch' is missing" in str(in_words(ModuleNotFoundError("No module named 'torch'", name="torch")))
    assert "No space left" in str(in_words(OSError(errno.ENOSPC, "No space left on device")))


def test_an_error_without_a_known_cause_comes_with_its_traceback_and_goes_to_the_log(monkeypatch, capfd):
    from PETSuperResLib.worker import jobs
    from PETSuperResLib.worker.serve import Worker

    monkeypatch.setattr(jobs.PhantomJob, "run", lambda self, tools: 1 / 0)
    answers: list[dict] = []
    worker = Worker(lambda line: answers.append(json.loads(line)))
    worker.listen(iter([json.dumps({"version": 1, "id": 1, "type": "phantom", "out": "x"}).encode()]))
    worker.work()
    answer, sentence = answers[-1], "ZeroDivisionError: division by zero"
    assert "Unexpected ZeroDivisionError (division by zero)" in answer["message"] and "\n" not in answer["message"]
    assert answer["details"][0].startswith("Traceback") and answer["details"][-1] == sentence
    assert sentence in capfd.readouterr().err
