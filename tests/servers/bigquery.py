"""Starts local-bigquery for the tests: without internet, and no longer than whoever holds its standard input."""

import gc
import os
import pathlib
import shutil
import sys
import threading

import duckdb

data = sys.argv[sys.argv.index("--data-dir") + 1]
# DuckDB keeps extensions in the home directory, where the tests have no business.
os.environ["HOME"] = str(pathlib.Path(sys.prefix).resolve())


def stop_with_parent():
    sys.stdin.read()
    shutil.rmtree(data, ignore_errors=True)
    os._exit(0)


threading.Thread(target=stop_with_parent, daemon=True).start()

packages = pathlib.Path(duckdb.__file__).parent.parent
with duckdb.connect() as connection:
    for extension in packages.glob("duckdb_extension_*/extensions/*/*.duckdb_extension"):
        connection.execute(f"INSTALL '{extension}'")

_connect = duckdb.connect


def connect(*args, config=None, **kwargs):
    """Sets the time zone after the extension that knows time zones is loaded."""
    config = dict(config or {})
    time_zone = config.pop("TimeZone", None)
    connection = _connect(*args, config=config, **kwargs)
    if time_zone:
        connection.execute(f"SET GLOBAL TimeZone='{time_zone}'")
    connection.execute("LOAD ducklake")
    return connection


duckdb.connect = connect

# A question is a tree of many thousand objects: by default it is searched for garbage again and again while it grows.
gc.set_threshold(100_000, 50, 100)

from local_bigquery.cli import main  # noqa: E402  (it must see the wrapped connect)

import translations  # noqa: E402

translations.install()
sys.exit(main())
