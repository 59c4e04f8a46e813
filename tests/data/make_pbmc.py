"""Write pbmc.h5ad: 700 real blood cells as anndata itself writes them. Needs scanpy.

    pip install anndata==0.12.19 scanpy && python make_pbmc.py

The cells are scanpy's own example, `scanpy/datasets/10x_pbmc68k_reduced.h5ad` of its wheel: 700 of the 68 000 peripheral blood
mononuclear cells of Zheng et al. 2017 (10x Genomics) and 765 genes, with log-normalised counts in raw and scaled values in X.
"""

from pathlib import Path

import anndata as ad
import numpy as np
import scanpy
import scipy.sparse as sp

adata = ad.read_h5ad(Path(scanpy.__file__).parent / "datasets" / "10x_pbmc68k_reduced.h5ad")
# Scaled values are dense; the sparse log counts of raw are the usual X.
adata.X = sp.csr_matrix(adata.raw[:, adata.var_names].X)
adata.varm["PCs"] = adata.varm["PCs"].astype(np.float32)
adata.write_h5ad(Path(__file__).with_name("pbmc.h5ad"), compression="gzip")
