"""``make doctor`` on installations that are really broken: each breakage gets its line, and the command to type."""

import json
import os
import platform
import re
import resource
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers.plumbing import paths
from helpers.workshop import doctor, environment

EXAMINE = """
import sys
from helpers.workshop import doctor
doctor.PARTS = {part: doctor.PARTS[part] for part in sys.argv[1:]}
sys.exit(doctor.main())
"""


def examine(*parts, python=sys.executable, before=None, command=(), **variables):
    """Run the doctor, with these parts of its own processes only: its exit code, and what -> (mark, found)."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("CHAPTER_", "CIFAR10_"))
    }
    answer = subprocess.run(
        [*command, python, "-c", EXAMINE, *parts],
        cwd=paths.ROOT,
        env={**clean, "PYTHONPATH": str(paths.ROOT), **variables},
        capture_output=True,
        text=True,
        preexec_fn=before,
    )
    assert answer.stderr == "" and answer.returncode in (0, 1)
    lines = [re.fullmatch(r"\[(OK|FIX)\] +(.+?)  +(.+)", line) for line in answer.stdout.splitlines()]
    rows = {line[2]: (line[1], line[3]) for line in lines if line}
    assert answer.returncode == any(mark == "FIX" for mark, _ in rows.values()), answer.stdout
    return answer.returncode, rows


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """A virtual environment whose packages are links to those of this one: its folder of packages, to be broken."""
    folder = tmp_path_factory.mktemp("farm")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    (own,) = Path(sys.prefix).glob("lib/python3.*/site-packages")
    for path in own.iterdir():
        if path.suffix != ".pth":
            (site / path.name).symlink_to(path)
    return site, folder / "bin/python"


@pytest.fixture
def moved(farm):
    """Moves links of the farm away, for one test."""
    gone = []

    def move(*names):
        for name in names:
            for link in farm[0].glob(name):
                gone.append((link, link.readlink()))
                link.unlink()
        assert gone

    yield move
    for link, target in gone:
        subprocess.run(["rm", "-rf", link], check=True)
        link.symlink_to(target)


def test_this_installation_is_right():
    code, rows = examine(
        "device", "native", "trust", "kernel", CHAPTER_ARTIFACTS=os.environ["CHAPTER_ARTIFACTS"]
    )
    assert code == 0 and not [row for row in rows.items() if row[1][0] == "FIX"]
    assert re.search(r"threads, (float32|bfloat16)", rows["device and number type"][1])
    assert rows["Core ML Tools' native parts"] == ("OK", "load")
    assert rows["the notebooks' kernel"][1] == "starts this Python, and has the helpers"
    assert re.match(r"\d+ of \d+ trusted", rows["the notebooks"][1])


def test_a_package_of_another_version(farm, moved):
    moved("onnx-*.dist-info")
    (farm[0] / "onnx-1.0.dist-info").mkdir()
    (farm[0] / "onnx-1.0.dist-info/METADATA").write_text("Name: onnx\nVersion: 1.0\n")
    code, rows = examine(python=farm[1])
    subprocess.run(["rm", "-rf", farm[0] / "onnx-1.0.dist-info"], check=True)
    ((pinned,),) = [re.findall(r"^onnx==(\S+)", (paths.ROOT / "requirements.txt").read_text(), re.M)]
    assert code == 1 and rows[f"onnx {pinned}"] == ("FIX", "1.0: run `make setup`")
    assert [mark for mark, _ in rows.values()].count("FIX") == 1


def test_a_package_that_is_missing_and_what_needs_it(farm, moved):
    moved("torch", "torch-*.dist-info")
    code, rows = examine("device", "data", python=farm[1])
    wrong = {what.split()[0]: found for what, (mark, found) in rows.items() if mark == "FIX"}
    assert code == 1 and wrong["torch"].startswith("missing: run `make setup`")
    for part in ("device", "CIFAR-10"):
        assert wrong[part] == "ModuleNotFoundError: No module named 'torch': run `make setup`"


def test_no_package_at_all_gets_one_line(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    code, rows = examine("device", python=tmp_path / "bin/python")
    assert code == 1
    assert {what: found for what, (mark, found) in rows.items() if mark == "FIX"} == {
        "the pinned packages": "none is here: run `make setup`"
    }


def test_core_ml_tools_without_its_native_parts(farm, moved):
    """What pip makes of its source where there is no wheel."""
    package = (farm[0] / "coremltools").resolve()
    moved("coremltools")
    (farm[0] / "coremltools").mkdir()
    for path in package.iterdir():
        if not path.name.startswith(("libmodelpackage", "__pycache__")):
            (farm[0] / "coremltools" / path.name).symlink_to(path)
    code, rows = examine("native", python=farm[1])
    mark, found = rows["Core ML Tools' native parts"]
    assert code == 1 and mark == "FIX"
    assert re.fullmatch(r"No module named .*libmodelpackage.* Type: .*pip install .*coremltools==\d.*", found)


def test_a_part_that_ends_its_process_costs_its_line_alone(farm, moved):
    """A processor without an instruction, or two libraries that do not agree, end Python like this."""
    moved("torch")
    (farm[0] / "torch.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    code, rows = examine("device", "chromium", python=farm[1])
    (farm[0] / "torch.py").unlink()
    assert code == 1 and "ended with code -4" in rows["device and number type"][1]
    assert "Chromium" in rows


def test_the_helpers_of_another_folder(tmp_path):
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers/__init__.py").write_text("")
    code, rows = examine(PYTHONPATH=str(tmp_path))
    assert code == 1
    assert rows["the helpers of this folder"] == (
        "FIX",
        "those of another are imported, or none: run `make setup`",
    )


def kernel_named_python3(folder, *argv):
    (folder / "kernels/python3").mkdir(parents=True)
    spec = {
        "argv": [*map(str, argv), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "x",
    }
    (folder / "kernels/python3/kernel.json").write_text(json.dumps(spec))
    return str(folder)


def test_a_kernel_that_starts_another_python(farm, tmp_path):
    folder = kernel_named_python3(tmp_path, farm[1])
    code, rows = examine("kernel", JUPYTER_PATH=folder)
    mark, found = rows["the notebooks' kernel"]
    assert code == 1 and mark == "FIX"
    assert re.search(r"another Python than this one. Type: \S*jupyter kernelspec remove python3", found)


def test_a_kernel_that_does_not_start(tmp_path):
    folder = kernel_named_python3(tmp_path, tmp_path / "gone")
    code, rows = examine("kernel", JUPYTER_PATH=folder)
    mark, found = rows["the notebooks' kernel"]
    assert code == 1 and mark == "FIX"
    assert re.search(r"does not start \(.+\). Type: \S+ -m ipykernel install --sys-prefix", found)


def test_too_little_memory():
    code, rows = examine(before=lambda: resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000,) * 2))
    assert code == 1
    assert re.match(r"1.5 GB for this process: close other programs", rows["2 GB of free memory"][1])


def test_a_full_disk(tmp_path):
    """A disk of its own in memory, which a process may have that is an administrator in a space of its own."""
    mount = f"mount -t tmpfs -o size=1m tmpfs '{tmp_path}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this system gives nobody a disk of their own")
    inside = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    code, rows = examine(command=inside, CHAPTER_ARTIFACTS=str(tmp_path))
    mark, found = rows["CHAPTER_ARTIFACTS to write to"]
    assert (
        code == 1 and mark == "FIX" and re.match(r"0.0 GB free: free some, or set CHAPTER_ARTIFACTS", found)
    )


def test_a_folder_for_artifacts_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    code, rows = examine(CHAPTER_ARTIFACTS=str(tmp_path / "file/inside"))
    mark, found = rows["CHAPTER_ARTIFACTS to write to"]
    assert code == 1 and mark == "FIX" and "Give yourself write access" in found


# -- the data and its sources


@pytest.fixture
def server():
    """A server of this machine that gives something, or nothing at all."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/good" else 404)
            self.end_headers()

        log_message = print

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Answers)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def cifar10(monkeypatch, tmp_path):
    """``helpers.data`` with no data, and with the sources that the test names."""
    from helpers import data

    for name in ("CHAPTER_CIFAR10", "CHAPTER_MIRROR", "CIFAR10_ROOT", "CIFAR10_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CHAPTER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(data.download, "ANSWER_SECONDS", 10.0)
    monkeypatch.setattr(data, "MIRRORS", ())
    return data


def looked():
    return {what: ("OK" if ok else "FIX", found) for ok, what, found in doctor.data()}


DEAD = "http://127.0.0.1:1/dead"


def test_a_dead_source_does_not_matter_while_another_answers(cifar10, monkeypatch, server):
    monkeypatch.setattr(cifar10, "MIRRORS", (DEAD, f"{server}/good"))
    monkeypatch.setattr(doctor, "urlsplit", lambda url: type("Split", (), {"hostname": url[-4:]}))
    rows = looked()
    assert rows["CIFAR-10"][0] == "OK" and "not here yet" in rows["CIFAR-10"][1]
    assert rows["good"][0] == "OK" and re.fullmatch(r"answers in \d+\.\d s", rows["good"][1])
    assert rows["dead"][0] == "OK" and rows["dead"][1].startswith(
        "not needed: another answers (cannot be reached"
    )


def test_no_data_and_no_source_that_answers(cifar10, monkeypatch, server):
    monkeypatch.setattr(cifar10, "MIRRORS", (f"{server}/bad",))
    rows = looked()
    assert rows["CIFAR-10"][0] == "FIX" and "set CHAPTER_CIFAR10" in rows["CIFAR-10"][1]
    assert rows["127.0.0.1"] == ("FIX", "answered with HTTP error 404. Check the network")


@pytest.mark.parametrize("address", [DEAD, "room-12/cifar"])
def test_a_classrooms_own_source_that_is_dead_or_none(cifar10, monkeypatch, server, address):
    monkeypatch.setattr(cifar10, "MIRRORS", (f"{server}/good",))
    monkeypatch.setenv("CHAPTER_MIRROR", address)
    mark, found = looked()["CHAPTER_MIRROR"]
    assert mark == "FIX" and found.endswith("Start that server, or type: unset CHAPTER_MIRROR")
    assert address not in found


def test_damaged_data(cifar10, monkeypatch, tmp_path):
    batches = tmp_path / "data/cifar-10-batches-py"
    batches.mkdir(parents=True)
    (batches / "data_batch_1").write_bytes(b"not a batch")
    mark, found = looked()["CIFAR-10"]
    assert mark == "FIX"
    assert re.search(r'is damaged: .* Type: rm -r "\$CHAPTER_DATA"/cifar-10-batches-py\. The next', found)
    monkeypatch.setenv("CHAPTER_CIFAR10", str(tmp_path / "data"))
    mark, found = looked()["CIFAR-10"]
    assert mark == "FIX" and "type: unset CHAPTER_CIFAR10" in found


def test_a_shared_folder_without_the_data(cifar10, monkeypatch, tmp_path):
    monkeypatch.setenv("CHAPTER_CIFAR10", str(tmp_path))
    mark, found = looked()["CIFAR-10"]
    assert (
        mark == "FIX"
        and "there is no cifar-10-batches-py in it" in found
        and "unset CHAPTER_CIFAR10" in found
    )


# -- the rest


def test_a_damaged_notebook(monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/01.ipynb").write_text('{"half')
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert doctor.trust() == [(False, "", "notebooks/01.ipynb is damaged (NotJSONError). Type: make reset")]


def test_a_chromium_that_is_not_where_it_is_said_to_be():
    code, rows = examine("chromium", CHROMIUM="/nowhere/chromium")
    assert code == 1 and rows["Chromium"] == (
        "FIX",
        "CHROMIUM is set, and no program is there. Set it to one, or type: unset CHROMIUM",
    )
    assert examine("chromium", PATH="/nowhere", CHROMIUM="")[1]["Chromium"][0] == "OK"


def test_a_system_without_core_ml_tools(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    ((ok, _, found),) = doctor.system()
    assert not ok and "has no build for Linux on aarch64" in found and "WSL" in found


def test_nothing_private_is_printed(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "node", lambda: "adas-laptop.local")
    monkeypatch.setattr(doctor, "_user", lambda: "ada")
    monkeypatch.setenv("HOME", "/home/ada")
    said = f"{paths.ROOT}/a.py, /home/ada/b.py, '/mnt/class/ada/c.py' and ./d.py on adas-laptop, http://x.org/a/b by ada"
    assert doctor.without_names(said) == "./a.py, ~/b.py, '…/c.py' and ./d.py on …, http://x.org/a/b by …"


def test_what_is_printed_of_a_broken_installation_is_not_private(tmp_path, server):
    """The real thing: every text that a broken part says goes through the same filter."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_text("")
    code, rows = examine(
        "data",
        "kernel",
        HOME=str(home),
        CHAPTER_ARTIFACTS=str(home / "file/inside"),
        CHAPTER_CIFAR10=str(home),
        CHAPTER_MIRROR=DEAD,
        JUPYTER_PATH=kernel_named_python3(home, home / "gone"),
    )
    printed = "\n".join(f"{what} {found}" for what, (_, found) in rows.items())
    assert code == 1 and printed.count("file/inside") == 1
    for private in (str(paths.ROOT), str(tmp_path), str(Path.home()) + "/", platform.node()):
        assert private not in printed


def test_make_doctor_takes_the_python_of_the_venv(tmp_path):
    """Run as ``make`` runs it; a Python that is too old says so in its own sentence."""
    answer = subprocess.run(
        ["make", "--dry-run", "doctor"], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    assert "helpers/workshop/environment.py doctor" in answer.stdout
    assert (environment.venv_version() is not None) == (paths.ROOT / ".venv").exists()
