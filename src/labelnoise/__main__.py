"""The command line: `labelnoise track`, `compare`, `ui`, `verify`, `bundle` and so on."""

import argparse
import os
import shlex
import socket
import sys
from pathlib import Path

from labelnoise.tracking.stores import StoreError, calm_mlflow, shown, store_uri
from labelnoise.workflow.layout import FOLDERS, RESULTS

DEFAULT_CONFIG = Path("config", "config.yaml")


def _track(arguments: argparse.Namespace) -> int:
    from labelnoise.tracking.sync import track

    uri = store_uri(arguments.results, arguments.uri)
    try:
        report = track(arguments.results, uri)
    except StoreError as error:
        print(
            f"MLflow: not everything was logged to {shown(uri)}: {error}\n"
            "MLflow: all results are safe; `make track` logs what is missing",
            file=sys.stderr,
        )
        return 1
    for name in report.restored:
        print(f"MLflow: experiment {name} had been deleted there; it is restored", file=sys.stderr)
    for damaged in report.damaged:
        print(f"MLflow: not logged: {damaged}", file=sys.stderr)
    print(f"MLflow: {len(report.logged)} logged, {report.current} already there ({shown(uri)})")
    return int(bool(report.damaged))


def _compare(arguments: argparse.Namespace) -> int:
    from labelnoise.config.commandline import read
    from labelnoise.config.load import ConfigError, load
    from labelnoise.tracking.compare import current, find, table, text, write_csv

    uri = store_uri(arguments.results, arguments.uri)
    cells = None
    files = [path for path in [DEFAULT_CONFIG] if path.is_file()] + arguments.configfile
    if files:
        try:
            config = load(read(files))
        except ConfigError as error:
            print(error, file=sys.stderr)
            return 1
        every = [cell for its in config.cells.values() for cell in its]
        cells = [(cell.experiment, cell.path, len(cell.blocks)) for cell in every]
    try:
        found = find(uri, arguments.experiments, arguments.verb)
        runs = current(found, arguments.results, cells)
        if len(runs) < len(found):
            what = f" or of no cell in {', '.join(map(str, files))}" if files else ""
            print(
                f"left out are {len(found) - len(runs)} of {len(found)} runs, which are of no file "
                f"in {arguments.results} now{what}",
                file=sys.stderr,
            )
        rows = table(runs, arguments.metric, arguments.sort)
    except StoreError as error:
        print(f"MLflow: {shown(uri)}: {error}", file=sys.stderr)
        return 1
    print(text(rows))
    if arguments.csv:
        write_csv(rows, arguments.csv)
    return 0


def _port_problem(port: int) -> str | None:
    """Why nothing can be served at a port of this machine, and what to do."""
    with socket.socket() as probe:
        # a server that has just ended is not in the way
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "no port has this number"
            return (
                f"port {port} cannot be used: {reason}; give another one, "
                "labelnoise ui --port 5001 or make ui PORT=5001"
            )
    return None


def _ui(arguments: argparse.Namespace) -> int:
    calm_mlflow()
    uri = store_uri(arguments.results, arguments.uri)
    if uri.startswith(("http:", "https:")):
        print(f"MLflow: the tracking server is at {shown(uri)}")
        return 0
    if problem := _port_problem(arguments.port):
        print(f"MLflow: {problem}", file=sys.stderr)
        return 1
    if _track(arguments):
        return 1
    # no job queue and one worker: a sixth of the memory
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--workers", "1", "--port", str(arguments.port)]
    print(f"MLflow: http://127.0.0.1:{arguments.port} (Ctrl-C ends it)", flush=True)
    return os.execv(sys.executable, command)


def _verify(arguments: argparse.Namespace) -> int:
    from labelnoise.artifacts.verify import verify

    if not Path(RESULTS).is_dir():
        print("there is no folder results here: nothing to verify", file=sys.stderr)
        return 1
    report = verify(Path(RESULTS))
    problems = [problem for made in report.damaged for problem in made.problems]
    for line in (*problems, *report.strays, *report.notes):
        print(line)
    if arguments.remove and report.damaged:
        # named one by one: Snakemake makes no file again that only finished jobs have read
        again = [str(made.remove()) for made in report.damaged]
        print("removed; with the options you use, run:\nsnakemake", shlex.join(again))
    others = f", {len(report.strays)} other files" if report.strays else ""
    print(f"{report.checked} files checked, {len(problems)} problems{others}", file=sys.stderr)
    return int(bool(report.notes) or bool(problems and not arguments.remove))


def _bundle(arguments: argparse.Namespace) -> int:
    from labelnoise.artifacts.bundle import BundleError, bundle
    from labelnoise.artifacts.provenance import file_digest

    try:
        path = bundle(arguments.figure)
    except BundleError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{path}: {path.stat().st_size:,} bytes, SHA-256 {file_digest(path)}")
    return 0


def _check_bundle(arguments: argparse.Namespace) -> int:
    from labelnoise.artifacts.bundle import BundleError
    from labelnoise.artifacts.redo import check_bundle

    try:
        return int(not check_bundle(arguments.file, arguments.cores, arguments.cifar10))
    except BundleError as error:
        print(error, file=sys.stderr)
        return 2


def _docs(arguments: argparse.Namespace) -> int:
    from labelnoise.reference import generated

    stale = []
    for path, text in generated(arguments.root).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not arguments.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path}: {'out of date; run `make docs`' if arguments.check else 'written'}")
    return int(bool(stale) and arguments.check)


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    parser = argparse.ArgumentParser("labelnoise", description="Beside the Snakemake workflow.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--results", type=Path, default=Path(RESULTS), help="results folder")
    store.add_argument("--uri", help="tracking store, unless MLFLOW_TRACKING_URI is set")
    command = commands.add_parser(
        "track", parents=[store], help="log to MLflow every artifact that is not there yet"
    )
    command.set_defaults(run=_track)
    command = commands.add_parser(
        "compare", parents=[store], help="a table of the runs of experiments, side by side"
    )
    command.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="as in the config")
    command.add_argument(
        "--verb", choices=[v for v in FOLDERS if v != "plot"], default="analyze", help="whose runs"
    )
    command.add_argument("--metric", action="append", default=[], help="only this one; repeatable")
    command.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="as given to snakemake: runs of cells that the configuration has not are left out",
    )
    command.add_argument("--sort", metavar="COLUMN", help="sort by it; --sort=-COLUMN: downwards")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, too")
    command.set_defaults(run=_compare)
    command = commands.add_parser("ui", parents=[store], help="track, then open the MLflow pages")
    command.add_argument("--port", type=int, default=5000, help="where to serve them")
    command.set_defaults(run=_ui)
    command = commands.add_parser("verify", help="check every result against its recorded digest")
    command.add_argument(
        "--remove", action="store_true", help="remove what is damaged, and say how to make it"
    )
    command.set_defaults(run=_verify)
    command = commands.add_parser(
        "bundle", help="one archive of a figure, with everything to redo it, in results/bundles"
    )
    command.add_argument("figure", metavar="FIGURE", help="a figure that is made")
    command.set_defaults(run=_bundle)
    command = commands.add_parser(
        "check-bundle",
        help="redo a bundle's figure, with the code in it, and compare; status 0: same bytes, "
        "1: something differs, 2: no whole bundle, or it cannot be made",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="what `bundle` wrote")
    command.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="cores to use")
    command.add_argument("--cifar10", type=Path, metavar="ARCHIVE", help="images, where needed")
    command.set_defaults(run=_check_bundle)
    command = commands.add_parser(
        "docs", help="write the JSON schema and the configuration reference from the models"
    )
    command.add_argument("--root", type=Path, default=Path(), help="the project's folder")
    command.add_argument("--check", action="store_true", help="only say what is out of date")
    command.set_defaults(run=_docs)
    arguments = parser.parse_args(argv)
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
