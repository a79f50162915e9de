"""Runs the notebooks and stores them with their output: `python notebooks/run.py [NAME ...]`, or `make notebook`."""

import pathlib
import sys

import jupytext
import nbclient

FOLDER = pathlib.Path(__file__).parent


def main(names: list[str]) -> None:
    """NAME.md is what is written by hand, NAME.ipynb the same with what it printed and drew."""
    for path in sorted(FOLDER.glob("*.md")):
        if not names or path.stem in names:
            notebook = jupytext.read(path)
            client = nbclient.NotebookClient(notebook, timeout=3600, kernel_name="python3", record_timing=False)
            client.execute(cwd=str(FOLDER))
            for cell in notebook.cells:
                if cell.cell_type == "code":  # progress is not kept
                    cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            jupytext.write(notebook, path.with_suffix(".ipynb"))


if __name__ == "__main__":
    main(sys.argv[1:])
