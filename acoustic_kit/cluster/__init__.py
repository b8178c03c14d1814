"""Several machines: features and folds as tasks of a running Dask cluster; see docs/scaling.md.

``connect`` yields a ``Cluster``, which ``run_on_cluster`` takes; ``build_features`` takes a ``ClusterExecutor``.
Dask unpickles: everyone with access to the scheduler can execute code on the workers and on this machine, with the
rights of their users.
"""

from acoustic_kit.cluster.connection import Cluster, WorkersDied, connect
from acoustic_kit.cluster.feature_jobs import ClusterExecutor

__all__ = ["Cluster", "ClusterExecutor", "WorkersDied", "connect"]
