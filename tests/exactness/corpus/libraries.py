"""What other libraries make. Those that are not installed have no cases."""

import importlib.util
import io
import tempfile

import numpy as np
import pandas as pd

REQUIRED = ("PIL", "geopandas", "pydantic", "scipy", "shapely", "sklearn", "xarray")
"""Installed for the tests; torch is too large for that."""


def geo():
    import geopandas as gpd
    import shapely
    from shapely import LinearRing, MultiPolygon, Point, Polygon, box

    points = [Point(0, 1), None, Point(2, 3, 4)]
    frame = gpd.GeoDataFrame({"n": [1, 2, 3], "t": ["a", None, "c"]}, geometry=points, crs="EPSG:4326")
    two = frame.assign(other=gpd.GeoSeries([box(0, 0, n, n) for n in (1, 2, 3)], crs="EPSG:2056"))
    return {
        "frame": frame, "no crs": gpd.GeoDataFrame({"n": [1]}, geometry=[Point(0, 0)]), "renamed": frame.rename_geometry("where"), "two geometries": two, "active other": two.set_geometry("other"), "no geometry": gpd.GeoDataFrame({"n": [1]}), "empty": frame[:0], "series": frame.geometry,
        "array": frame.geometry.array, "point": Point(0, 1), "polygon": Polygon([(0, 0), (1, 0), (1, 1)], [[(0.1, 0.1), (0.2, 0.1), (0.2, 0.2)]]), "multi": MultiPolygon([box(0, 0, 1, 1)]), "plain frame with shapes": pd.DataFrame({"shape": points[:1], "n": [1]}), "precise point": shapely.set_precision(Point(0.12, 1), 0.1), "precise polygon": [shapely.set_precision(box(0, 0, 1.5, 1), 0.5)], "precise ring": shapely.set_precision(LinearRing([(0, 0), (1, 0), (1, 1)]), 0.5), "geometry column": pd.DataFrame({"g": frame.geometry.array, "n": [1.5, 2, 3]}),
    }  # fmt: skip


def xr():
    import xarray

    array = xarray.DataArray(
        np.arange(6.0).reshape(2, 3),
        dims=("x", "y"),
        coords={"x": [10, 20], "label": ("y", list("abc"))},
        name="t",
        attrs={"unit": "K"},
    )
    data = xarray.Dataset(
        {"t": array, "n": ("x", [1, 2])},
        coords={"time": ("x", pd.date_range("2020", periods=2))},
        attrs={"source": "x"},
    )
    with tempfile.TemporaryDirectory() as folder:
        data.drop_vars("label").to_netcdf(f"{folder}/a.nc", engine="scipy")
        loaded = xarray.open_dataset(f"{folder}/a.nc", engine="scipy").load()
    return {
        "loaded": loaded,
        "loaded array": [loaded["t"]],
        "array": array,
        "dataset": data,
        "sliced": data.isel(y=slice(0, 2)),
        "stacked": array.stack(z=("x", "y")),
        "empty": xarray.Dataset(),
        "variable": xarray.Variable(("x",), [1, 2], {"a": 1}),
    }


def sparse():
    import scipy.sparse as sp

    dense = np.array([[0, 1.5, 0], [2, 0, 0]])
    found = {
        f"{kind} matrix": getattr(sp, f"{kind}_matrix")(dense)
        for kind in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
    }
    found |= {f"{kind} array": getattr(sp, f"{kind}_array")(dense) for kind in ("csr", "csc", "coo")}
    return found | {
        "frame": pd.DataFrame.sparse.from_spmatrix(sp.csr_matrix(dense)),
        "large": sp.random(1000, 1000, 0.01, format="csr", random_state=3),
    }


def models():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rng = np.random.default_rng(3)
    x, y = rng.random((40, 3)), rng.integers(0, 2, 40)
    frame = pd.DataFrame(x, columns=list("abc"))
    return {
        "linear": LinearRegression().fit(x, y), "pipeline": make_pipeline(StandardScaler(), LinearRegression()).fit(frame, y), "forest": RandomForestClassifier(3, random_state=1).fit(x, y), "neighbours": KNeighborsClassifier(3).fit(x, y), "encoder": OneHotEncoder().fit([["a"], ["b"]]), "unfitted": StandardScaler(),
    }  # fmt: skip


def images():
    from PIL import Image

    modes = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "I;16")
    found = {mode: Image.new(mode, (3, 2)) for mode in modes}
    file = io.BytesIO()
    found["RGB"].save(file, "PNG", dpi=(72, 72))
    opened = Image.open(io.BytesIO(file.getvalue()))
    opened.load()
    return found | {
        "copied png": opened.copy(),
        "large": Image.fromarray(np.arange(60_000, dtype="u1").reshape(200, 300)),
    }


def pydantics():
    from payloadfs_corpus_pydantic import Address, Extra, Person, Strict

    person = Person(name="a", tags=["x"], home=Address(street="s"))
    person._secret = [1]
    return {
        "model": person,
        "nested": {"p": [person, person.home]},
        "defaults": Person(name="b"),
        "extra": Extra(a=1, b=[2]),
        "strict": Strict(n=3),
        "class": Person,
    }


def tensors():
    import torch

    base = torch.arange(6.0).reshape(2, 3)
    return {
        "tensor": base,
        "views": [base, base[0], base.T],
        "bfloat16": base.bfloat16(),
        "parameter": torch.nn.Parameter(base),
        "state": torch.nn.Linear(3, 2).state_dict(),
        "model": torch.nn.Linear(3, 2),
    }


def cases():
    parts = {
        "geopandas": geo,
        "xarray": xr,
        "scipy": sparse,
        "sklearn": models,
        "PIL": images,
        "pydantic": pydantics,
        "torch": tensors,
    }
    return {
        f"{name} {case}": obj
        for name, make in parts.items()
        if importlib.util.find_spec(name)
        for case, obj in make().items()
    }
