"""Several machines: features and folds as tasks of a Dask cluster, which somebody has started; see docs/scaling.md.

``connect`` gives a ``Cluster``, which ``build_features`` and ``run_on_cluster`` take. Dask pickles: whoever reaches the
scheduler can do on the workers, and on this machine, what their users can.
"""

from acoustic_kit.cluster.connection import Cluster, WorkersDied, connect

__all__ = ["Cluster", "WorkersDied", "connect"]
