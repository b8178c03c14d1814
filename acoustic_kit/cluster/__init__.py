"""Several machines: features and folds as tasks of a Dask cluster, which somebody has started; see docs/scaling.md.

``connect`` gives a ``Cluster``, which ``run_on_cluster`` takes; ``build_features`` takes a ``ClusterExecutor``.
Dask pickles: whoever reaches the scheduler can do on the workers, and on this machine, what their users can.
"""

from acoustic_kit.cluster.connection import Cluster, WorkersDied, connect, connect_if_given
from acoustic_kit.cluster.feature_jobs import ClusterExecutor

__all__ = ["Cluster", "ClusterExecutor", "WorkersDied", "connect", "connect_if_given"]
