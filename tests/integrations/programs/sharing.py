"""The program that the framework's documentation shows for its own payload; only the first import differs."""

import pandas as pd

import payloadfs.integrations.lightning_app as lapp


class SourceWork(lapp.LightningWork):
    def __init__(self):
        super().__init__()
        self.df = None

    def run(self):
        df = pd.DataFrame(data={"col1": [1, 2], "col2": [3, 4]})
        self.df = lapp.storage.Payload(df)
        print("src", self.df.value, flush=True)


class DestinationWork(lapp.LightningWork):
    def run(self, df: lapp.storage.Payload):
        print("dst", df.value, flush=True)


class Flow(lapp.LightningFlow):
    def __init__(self):
        super().__init__()
        self.src = SourceWork()
        self.dst = DestinationWork()

    def run(self):
        self.src.run()
        self.dst.run(df=self.src.df)
        self.stop()


app = lapp.LightningApp(Flow())
