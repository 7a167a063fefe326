"""One work makes a DataFrame, another one receives a copy of it; each runs in a process of its own.

    payloadfs run examples/sharing_objects.py

This is a program for Lightning's app framework. Only its import line is another.
"""

import payloadfs.lightning as lapp
import pandas as pd


class SourceWork(lapp.LightningWork):
    def __init__(self):
        super().__init__()
        self.df = None

    def run(self):
        df = pd.DataFrame(data={"col1": [1, 2], "col2": [3, 4]})

        # The frame as it is now goes to the store; the work's state holds a pointer to it.
        self.df = lapp.storage.Payload(df)

        print("src", self.df.value)


class DestinationWork(lapp.LightningWork):
    def run(self, df: lapp.storage.Payload):
        # A copy of its own, loaded from the store when it is asked for.
        print("dst", df.value)


class Flow(lapp.LightningFlow):
    def __init__(self):
        super().__init__()
        self.src = SourceWork()
        self.dst = DestinationWork()

    def run(self):
        self.src.run()
        # Only the pointer passes through the flow.
        self.dst.run(df=self.src.df)


app = lapp.LightningApp(Flow())
