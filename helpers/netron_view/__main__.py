"""Write the graph of a model to an HTML file: ``python -m helpers.netron_view MODEL -o OUT.html``."""

import argparse
import sys

from helpers import netron_view


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m helpers.netron_view", description=__doc__)
    parser.add_argument("model", help="an .onnx, .mlmodel, .mlpackage, .pt2 or .pth")
    parser.add_argument("-o", "--out", metavar="OUT.html", help="the file to write")
    parser.add_argument("--outline", action="store_true", help="print the layers as text")
    parser.add_argument(
        "--picture", action="store_true", help="draw the still picture that ships with the project"
    )
    parser.add_argument("--attributes", action="store_true", help="write the attributes into the nodes")
    parser.add_argument("--names", action="store_true", help="write the names of nodes and values")
    parser.add_argument("--horizontal", action="store_true", help="from left to right")
    chosen = parser.parse_args(arguments)
    if not (chosen.out or chosen.outline or chosen.picture):
        parser.error("say what to make: -o OUT.html, --outline or --picture")
    options = {"attributes": chosen.attributes, "names": chosen.names, "horizontal": chosen.horizontal}
    try:
        if chosen.outline:
            print(netron_view.outline(chosen.model))
        if chosen.picture:
            print(netron_view.save_picture(chosen.model, **options))
        if chosen.out:
            print(netron_view.save_html(chosen.model, chosen.out, **options))
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
