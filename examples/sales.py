"""Find the best-selling product of each region: three steps, each in its own process.

    payloadfs run examples/sales.py
    payloadfs run examples/sales.py --set load.orders=1000000    # more orders

The DataFrames pass from step to step by pointer. The results are plain JSON state.
"""

from typing import Any

from payloadfs import Payload
from payloadfs.works import App, Flow, Work


class Load(Work):
    """Creates the orders. A real program would read them from a file or a database."""

    def __init__(self) -> None:
        super().__init__()
        self.orders = 200_000
        self.frame: Any = None

    def run(self) -> None:
        import numpy as np
        import pandas as pd

        rng = np.random.default_rng(0)
        frame = pd.DataFrame(
            {
                "region": rng.choice(["north", "south", "west"], self.orders),
                "product": rng.choice(["apples", "bread", "coffee", "rice"], self.orders),
                "units": rng.integers(1, 9, self.orders),
                "price": rng.uniform(1, 20, self.orders).round(2),
            }
        )
        print(f"{len(frame):,} orders")
        self.frame = Payload(frame)


class Total(Work):
    """Adds up the revenue of each product in each region."""

    def __init__(self) -> None:
        super().__init__()
        self.revenue: Any = None

    def run(self, orders: Payload[Any]) -> None:
        frame = orders.value
        frame["revenue"] = frame["units"] * frame["price"]
        self.revenue = Payload(frame.pivot_table("revenue", "region", "product", aggfunc="sum"))


class Report(Work):
    """Prints the table and the best product of each region."""

    def __init__(self) -> None:
        super().__init__()
        self.best: dict[str, str] = {}

    def run(self, revenue: Payload[Any]) -> None:
        table = revenue.value
        print(table.map("{:,.0f}".format).to_string())
        self.best = {str(region): str(product) for region, product in table.idxmax(axis="columns").items()}
        for region, product in self.best.items():
            print(f"{region}: {product} sells best")


class Sales(Flow):
    """Runs the three steps in order."""

    def __init__(self) -> None:
        super().__init__()
        self.load, self.total, self.report = Load(), Total(), Report()

    def run(self) -> None:
        self.load.run()
        self.total.run(self.load.frame)
        self.report.run(self.total.revenue)


app = App(Sales())
