//! `annslicer merge`.

use std::path::Path;

use crate::harness::{PBMC, cells, done, folder};

#[test]
fn merged_shards_are_the_cells_of_the_file_again() {
    let folder = folder();
    done(folder.path(), "slice pbmc.h5ad out/p --size 150");
    done(folder.path(), "merge back.h5ad out/p_shard_*.h5ad");
    assert_eq!(
        cells(&folder.path().join("back.h5ad")),
        cells(Path::new(PBMC))
    );
}
