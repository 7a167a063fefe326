"""Works and flows: steps that run in separate processes, driven by a flow, and pass payloads to each other.

>>> from payloadfs.works import App, Flow, Work
"""

from ._app import App as App
from ._events import Event as Event
from ._flow import Flow as Flow
from ._flow import Map as Map
from ._local_executor import LocalExecutor as LocalExecutor
from ._work import Work as Work
from ._work import WorkStatus as WorkStatus

__all__ = ["App", "Event", "Flow", "LocalExecutor", "Map", "Work", "WorkStatus"]
