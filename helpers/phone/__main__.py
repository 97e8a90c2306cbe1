"""Serve the page from a command line: ``python -m helpers.phone MODEL``."""

import argparse
import sys
import time
from pathlib import Path

from helpers import phone


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m helpers.phone", description="Ask a Core ML model with a phone."
    )
    parser.add_argument("model", nargs="*", help="a Core ML file; of several the first one's answer counts")
    parser.add_argument("--lan", action="store_true", help="let devices in the local network in")
    parser.add_argument("--threshold", type=float, help='an answer below it is "not sure"')
    parser.add_argument("--folder", help="where labelled photos are kept, in place of photos/")
    parser.add_argument("--port", type=int, default=0)
    given = vars(parser.parse_args())
    models = {Path(path).stem: path for path in given.pop("model")}
    try:
        server = phone.serve(models or None, **given)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if isinstance(server, phone.Widget):
        return 2
    print("Ctrl-C ends it.", flush=True)
    try:
        while server.running:
            time.sleep(0.2)
    except KeyboardInterrupt:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
