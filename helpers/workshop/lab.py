"""JupyterLab at the first notebook: ``make lab``.

It serves the whole project, so that ``artifacts/``, ``photos/`` and the README can be opened beside the
notebooks, with the table of contents open and without the question about news. Both are settings of this
folder (``lab_settings/``, and the layout in ``artifacts/.jupyterlab/``): those in the user's home count as
ever, and are not changed.
"""

import argparse
import os
import socket
import sys
from pathlib import Path

from helpers.plumbing import paths
from helpers.workshop import reset

SETTINGS = Path(__file__).resolve().parent / "lab_settings"
FIRST = "notebooks/00_start_here.ipynb"
CONTAINERS = ("/.dockerenv", "/run/.containerenv")
"""Docker and Podman make one of these files in every container."""


def options(port: int, layout: Path) -> list[str]:
    """What JupyterLab is told.

    Args:
        port: where it listens, on this machine alone.
        layout: the folder in which it keeps which panels and files are open.
    """
    told = {
        "ServerApp.root_dir": paths.ROOT,
        "LabApp.default_url": f"/lab/tree/{FIRST}",
        "LabApp.app_settings_dir": SETTINGS,
        "LabApp.workspaces_dir": layout,
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.answer_yes": True,  # one Ctrl-C ends it, and every kernel
        "Application.log_level": "ERROR",  # the address is said all the same
        # Without encryption every kernel warns that others on this machine could listen in.
        "KernelManager.transport_encryption": "required",
        "LanguageServerManager.autodetect": False,  # which would start node, and write to the user's home
        # An administrator, as in most containers, has to say so; nobody else may.
        "ServerApp.allow_root": os.geteuid() == 0,
    }
    return [f"--{name}={value}" for name, value in told.items()]


def layout() -> Path:
    """The folder of the layout, with the first one in it where there is none yet."""
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    folder = paths.artifacts_dir() / ".jupyterlab"
    if not any(folder.glob("*.jupyterlab-workspace")):
        WorkspacesManager(str(folder)).save("default", (SETTINGS / "workspace.json").read_text())
    return folder


def why_not(port: int) -> str:
    """Why JupyterLab cannot listen on a port, and what to do; "" where it can."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # what a JupyterLab that ended leaves is free
        try:
            probe.bind(("127.0.0.1", port))
            return ""
        except PermissionError:
            return f"Port {port} is for administrators. Take another one: make lab PORT=8889"
        except OSError:
            pass
    from jupyter_server.serverapp import list_running_servers

    for server in list_running_servers():
        if server["port"] == port and Path(server["root_dir"]).resolve() == paths.ROOT:
            return (
                f"JupyterLab is at work in this folder already: {server['url']}lab?token={server['token']}\n"
                f"Open that address, or end it first: .venv/bin/jupyter server stop {port}"
            )
    return (
        f"Port {port} is taken by another program. Take another one: make lab PORT={port + 1}\n"
        f"If it is a JupyterLab that you forgot, end it first: .venv/bin/jupyter server stop {port}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Start JupyterLab in the place of this process. Further arguments are JupyterLab's own."""
    parser = argparse.ArgumentParser(prog="make lab", allow_abbrev=False)
    parser.add_argument("--port", type=int, default=8888)
    chosen, further = parser.parse_known_args(arguments)
    if not 0 < chosen.port < 65535:
        sys.exit(f"PORT={chosen.port} is no port. Take a number from 1024 to 65534, e.g. make lab PORT=8889")
    try:
        told = options(chosen.port, layout())
    except OSError as error:
        sys.exit(str(error))
    problem = why_not(chosen.port)
    if problem:
        sys.exit(problem)
    reset.keep()
    if any(map(os.path.exists, CONTAINERS)) and not any("ip=" in one for one in further):
        print(
            f"In a container: publish the port ({chosen.port}), and start it with: make lab LAB=--ip=0.0.0.0"
        )
    print("Ctrl-C here ends JupyterLab and all that runs in it.", flush=True)
    os.chdir(paths.ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *told, *further])


if __name__ == "__main__":
    main()
