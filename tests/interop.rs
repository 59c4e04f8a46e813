//! The program against Python's anndata and annslicer: each test is one scenario of `tests/interop/run.py`.
//!
//! One by hand: `PYTHON tests/interop/run.py slice_equals_rows --bin target/debug/annslicer --work /tmp/work`.

mod common;

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            common::scenario(stringify!($name));
        })*

        #[test]
        fn every_scenario_is_a_test() {
            if let Some(names) = common::scenarios() {
                assert_eq!(names, [$(stringify!($name)),*]);
            }
        }
    };
}

scenarios! {
    slice_equals_rows,
    slice_equals_rows_of_every_hdf5_storage,
    slice_equals_rows_of_zarr,
    slice_equals_rows_in_tiny_blocks,
    slice_writes_every_compression,
    slice_sizes,
    shuffle_equals_permutation,
    shuffle_equals_permutation_of_every_hdf5_storage,
    shuffle_equals_permutation_of_zarr,
    shuffle_takes_the_seeds_of_numpy,
    shuffle_is_the_same_whatever_the_resources,
    slice_replaces_older_shards,
    slice_carries_what_it_does_not_know,
    merge_undoes_slice,
    merge_undoes_slice_of_zarr,
    merge_undoes_slice_into_zarr,
    merge_undoes_slice_in_tiny_blocks,
    merge_writes_every_compression,
    merge_of_every_hdf5_storage,
    merge_of_one_and_of_nothing,
    merge_names_what_it_drops,
    merge_expands_patterns,
    concat_of_the_same_genes,
    concat_of_differing_genes,
    concat_of_mixed_stores,
    concat_of_the_same_genes_in_another_order,
    concat_promotes_dtypes,
    concat_keeps_large_integers,
    concat_keeps_common_layers,
    concat_unites_obs,
    concat_unites_obsm,
    concat_keeps_raw_where_all_have_it,
    concat_allows_doubled_genes_without_a_remap,
    concat_of_one_cell_and_none,
    merge_of_many_files_opens_one_at_a_time,
    concat_labels_the_sources,
    concat_replaces_a_column_by_the_label,
    merge_counts_doubled_names,
    bad_sources_are_refused,
    old_h5ad_files_are_sliced,
    old_zarr_folders_are_sliced,
    old_h5ad_files_are_merged,
    old_zarr_folders_are_merged,
    slice_equals_the_python_tool,
    merge_equals_the_python_tool,
    bad_files_are_refused,
    bad_elements_are_refused,
    bad_storage_is_refused,
    bad_awkward_is_refused,
    bad_arguments_are_refused,
    arguments_may_be_shortened,
    bad_outputs_are_refused,
    bad_merges_are_refused,
    a_failed_run_leaves_the_older_output,
    filter_keeps_cells_by_a_column,
    filter_in_tiny_blocks,
    filter_keeps_rows_of_every_hdf5_storage,
    filter_keeps_cells_by_an_expression,
    filter_keeps_listed_cells,
    filter_equals_the_python_tool,
    slice_makes_a_shard_of_each_category,
    slice_by_a_column_equals_the_python_tool,
    a_table_joins_obs,
    slice_into_parts_and_by_bytes,
    bad_choices_of_cells_are_refused,
    categories_are_limited_as_by_the_python_tool,
    categories_beyond_the_limit_keep_their_values,
    text_that_numbers_would_change_stays_text,
    merged_categories_are_limited_as_by_the_python_tool,
    files_of_anndata_are_sound,
    verified_outputs_are_right_and_sound,
    broken_files_end_well,
    files_outside_the_folder_are_refused,
    links_out_of_a_store_are_refused,
    circles_and_depths_end,
    sizes_that_no_file_holds_are_refused,
    names_do_not_become_paths,
    references_to_nowhere_end,
    killed_runs_leave_whole_outputs_or_none,
    resumed_slices_equal_undisturbed_ones,
    resume_is_for_the_same_run_alone,
    two_runs_of_the_same_outputs_are_told_apart,
    writes_that_fail_are_errors,
    inputs_that_change_are_refused,
    readers_need_no_lock,
    uns_is_kept_by_each_strategy,
    uns_of_the_first_comes_whole_and_of_others_what_it_lacks,
    var_is_kept_by_each_strategy,
    obsp_is_kept_on_the_diagonal,
    missing_rows_and_columns_take_the_fill_value,
    bad_strategies_are_refused,
    manifests_tell_what_was_written,
    a_seed_that_was_drawn_is_in_the_manifest,
    a_dry_run_tells_what_is_written_then,
    filter_reaches_rows_beyond_two_to_the_31_elements,
    trees_equal_themselves,
    storages_hold_the_same,
    taken_rows_are_what_anndata_writes,
    mutations_of_a_tree_are_seen,
    mutations_of_an_adata_are_seen,
}
